"""Gateways as they are really put together: in this process, and as one of their own that can be sent signals."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from lookonce.app import build
from lookonce.inference.port import Inference
from lookonce.serving import Ports, running
from lookonce.settings import read_settings

ROOT: Final = Path(__file__).parents[2]
SOME_PORT: Final = {"server": {"http_port": 0, "grpc_port": 0}, "admin": {"port": 0}}


@dataclass(frozen=True, slots=True)
class Process:
    """A gateway's process, and where it listens."""

    popen: "subprocess.Popen[str]"
    ports: Ports

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    def ended(self) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code and its log, once it has gone."""
        _, said = self.popen.communicate(timeout=30)
        return self.popen.returncode, [json.loads(line) for line in said.splitlines()]


Start = Callable[..., AbstractContextManager[Process]]
Gateways = Callable[..., AbstractAsyncContextManager[Ports]]


@pytest.fixture
def start() -> Start:
    """A gateway over a model that takes `latency_s`, its log going to `stderr`; the rest are its variables."""

    @contextmanager
    def process(latency_s: float = 0.0, stderr: int = subprocess.PIPE, **variables: str) -> Iterator[Process]:
        command = [sys.executable, "-m", "tests.serving.slow_gateway", str(latency_s)]
        pipes = {"stdout": subprocess.PIPE, "stderr": stderr}
        with subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, text=True, **pipes) as popen:
            try:
                yield Process(popen, Ports(**json.loads(popen.stdout.readline())))
            finally:
                popen.kill()

    return process


@pytest.fixture(scope="session")
def gateway() -> Gateways:
    """A gateway in this process, on ports that are free, with these settings."""

    @asynccontextmanager
    async def serving(inference: Inference | None = None, **settings: dict[str, object]) -> Any:  # noqa: ANN401
        groups = {name: SOME_PORT.get(name, {}) | settings.get(name, {}) for name in SOME_PORT.keys() | settings.keys()}
        async with running(build(read_settings(**groups), inference)) as ports:
            yield ports

    return serving
