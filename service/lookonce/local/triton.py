"""Starts a real Triton as a child, waits until it serves, and never leaves it behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from lookonce.errors import LocalTritonFailed
from lookonce.forge.progress import Report, unheard
from lookonce.local import keeper
from lookonce.local.endpoint import Endpoint, birth, forget, is_ready, note, notes_folder
from lookonce.local.environment import Environment
from lookonce.local.ports import LOOPBACK, Ports, refuse_taken
from lookonce.local.reasons import hangs, reason

LOG: Final = Path(".lookonce/triton.log")
STARTING: Final = "starting Triton"
POLL_S: Final = 0.05
WATCH_S: Final = 0.2
GRACE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to serve and where, and where Triton's words go. No names: every model. The exit waits for open requests."""

    repository: Path
    models: tuple[str, ...] = ()
    ports: Ports = field(default_factory=Ports)
    log: Path = LOG
    notes: Path = field(default_factory=notes_folder)
    ready_timeout_s: float = 120.0
    exit_timeout_s: int = 5


@dataclass(frozen=True, slots=True)
class LocalTriton:
    """A Triton that serves. `process` is its keeper, which dies with it."""

    endpoint: Endpoint
    models: tuple[str, ...]
    log: Path
    process: subprocess.Popen[str]

    async def watch(self) -> None:
        """Until Triton dies; that is always an error, for only we end it."""
        while (code := self.process.poll()) is None:  # noqa: ASYNC110  a process tells nobody that it dies
            await asyncio.sleep(WATCH_S)
        raise LocalTritonFailed(f"Triton died {_how(code)}; its log is {self.log}.")


def _how(code: int) -> str:
    """The keeper tells Triton's signal as a shell does, above 128; its own is told to us below zero."""
    killed_by = {number: f"of {each.name}" for each in signal.Signals for number in (-each, keeper.SIGNALLED + each)}
    return killed_by.get(code, f"with exit code {code}")


def models_in(repository: Path) -> tuple[str, ...]:
    """The names that can be served: folders with a config. What is hidden is still being published."""
    if not repository.is_dir():
        raise LocalTritonFailed(f"there is no model repository at {repository}; name one with --repository.")
    configs = repository.glob("*/config.pbtxt")
    names = tuple(sorted(config.parent.name for config in configs if not config.parent.name.startswith(".")))
    if not names:
        raise LocalTritonFailed(f"{repository} holds no model; publish one with `lookonce model import`.")
    return names


@contextmanager
def serving(environment: Environment, plan: Plan, report: Report = unheard) -> Iterator[LocalTriton]:
    """A Triton that is ready as long as the block lasts."""
    models = plan.models or models_in(plan.repository)
    refuse_taken(plan.ports)
    with ExitStack() as stack:
        process = stack.enter_context(_kept(environment, plan, models))
        pid = int((process.stdout.readline() if process.stdout else "") or 0)
        endpoint = Endpoint(str(plan.repository.resolve()), pid, birth(pid), plan.ports, str(plan.log.resolve()))
        _wait_until_ready(endpoint, plan, process, (report, models))
        note(endpoint, plan.notes)
        stack.callback(forget, endpoint, plan.notes)
        yield LocalTriton(endpoint, models, plan.log, process)


@contextmanager
def _kept(environment: Environment, plan: Plan, models: Iterable[str]) -> Iterator[subprocess.Popen[str]]:
    prefix = f"lookonce_{os.getpid()}_{plan.ports.grpc}_"
    command = [sys.executable, "-I", keeper.__file__, prefix, str(GRACE_S)]
    command += _command(environment, plan, models, prefix)
    variables, pipe = environment.variables(os.environ), subprocess.PIPE
    with _fresh(plan.log) as log:
        process = subprocess.Popen(
            command, env=variables, text=True, start_new_session=True, stdin=pipe, stdout=pipe, stderr=log
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Its input ends, so the keeper stops Triton; not `with Popen`, which does not wait after a Ctrl-C."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def _fresh(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError as error:
        raise LocalTritonFailed(f"the log {log} cannot be written: {error.strerror}; name another one.") from error


def _command(environment: Environment, plan: Plan, models: Iterable[str], memory_prefix: str) -> Iterator[str]:
    options = {
        "model-repository": plan.repository.resolve(),
        "backend-directory": environment.backends,
        "backend-config": f"python,shm-region-prefix-name={memory_prefix}",
        "model-control-mode": "explicit",
        "strict-readiness": "true",
        "http-address": LOOPBACK,
        "grpc-address": LOOPBACK,
        "metrics-address": LOOPBACK,
        "http-port": plan.ports.http,
        "grpc-port": plan.ports.grpc,
        "metrics-port": plan.ports.metrics,
        "exit-timeout-secs": plan.exit_timeout_s,
        "allow-gpu-metrics": "false",
        "pinned-memory-pool-byte-size": 0,
    }
    yield str(environment.server)
    yield "--disable-auto-complete-config"
    yield from (f"--{name}={value}" for name, value in options.items())
    yield from (f"--load-model={name}" for name in models)


def _wait_until_ready(
    endpoint: Endpoint, plan: Plan, process: subprocess.Popen[str], heard: tuple[Report, tuple[str, ...]]
) -> None:
    report, models = heard
    deadline = time.monotonic() + plan.ready_timeout_s
    report(STARTING, 0, len(models))
    while not _all_ready(endpoint, models, report):
        log = _text(plan.log)
        if process.poll() is not None or hangs(log):
            raise LocalTritonFailed(f"Triton did not start: {reason(log)}. Its log is {plan.log}.")
        if time.monotonic() > deadline:
            raise LocalTritonFailed(
                f"Triton was not ready after {plan.ready_timeout_s:g} s: {reason(log)}. Its log is {plan.log}."
            )
        time.sleep(POLL_S)


def _all_ready(endpoint: Endpoint, models: Iterable[str], report: Report) -> bool:
    paths = ("/v2/health/ready", *(f"/v2/models/{name}/ready" for name in models))
    for done, path in enumerate(paths):
        if not is_ready(endpoint, path):
            return False
        report(STARTING, done, len(paths) - 1)
    return True


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.is_file() else ""
