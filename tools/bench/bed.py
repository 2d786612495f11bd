"""What is measured: a local Triton, gateways before it, and the conventional way, each a process."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import shelf
from asking import HOST
from processes import child

from lookonce.local.environment import Environment
from lookonce.local.ports import Ports
from lookonce.local.triton import LocalTriton, Plan, serving
from lookonce.settings import PREFIX

READY_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.05
BESIDE: Final = Path(__file__).parent
CONVENTIONAL: Final = "conventional"
GRPC, SHARED_MEMORY = "gRPC", "shared memory"
TRANSPORTS: Final = {GRPC: "grpc", SHARED_MEMORY: "shared-memory"}


class BenchFailed(RuntimeError):
    """Something that was to be measured did not work; the message says what."""


@dataclass(frozen=True, slots=True)
class Served:
    """A process that answers; of a gateway the subject says how its tensors travel."""

    subject: str
    pid: int
    port: int
    grpc_port: int = 0


@contextmanager
def triton(environment: Environment, repository: Path, desk: Path) -> Iterator[Served]:
    plan = Plan(repository=repository, ports=Ports(*free_ports(3)), log=desk / "triton.log", notes=desk / "notes")
    with serving(environment, plan) as running:
        yield _as_served(running)


def _as_served(running: LocalTriton) -> Served:
    ports = running.endpoint.ports
    return Served("Triton alone", running.endpoint.pid, ports.http, ports.grpc)


@contextmanager
def gateway(transport: str, before: Served, model: str, desk: Path) -> Iterator[Served]:
    """`lookonce serve` as it comes, but for its ports and how its tensors travel to the Triton behind it."""
    http_port, grpc_port, admin_port = free_ports(3)
    options = {
        "triton": f"{HOST}:{before.grpc_port}",
        "model": model,
        "http-port": http_port,
        "grpc-port": grpc_port,
        "admin-port": admin_port,
    }
    command = [Path(sys.executable).with_name("lookonce"), "serve"]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    variables = plain_variables() | {f"{PREFIX}TRITON__TRANSPORT": TRANSPORTS[transport]}
    with _running(command, variables, desk / f"gateway {transport} {model}.log", (admin_port, "/readyz")) as process:
        yield Served(transport, process.pid, http_port, grpc_port)


@contextmanager
def conventional(before: Served, desk: Path) -> Iterator[Served]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", f"{CONVENTIONAL}:app", "--app-dir", BESIDE, "--port", port]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    variables = plain_variables() | {"TRITON": f"{HOST}:{before.grpc_port}", "MODEL": shelf.USUAL}
    with _running(command, variables, desk / "conventional.log", (port, "/docs")) as process:
        yield Served(CONVENTIONAL, process.pid, port)


def plain_variables() -> dict[str, str]:
    """The environment without what would change a gateway's defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


@contextmanager
def _running(
    command: Sequence[object], variables: Mapping[str, str], log: Path, ready: tuple[int, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as words, child(command, variables, words) as process:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _answers(*ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchFailed(f"{' '.join(map(str, command))} did not start: {log.read_text()[-1000:]}")
            time.sleep(POLL_S)
        yield process


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        doors = [stack.enter_context(socket.socket()) for _ in range(count)]
        for door in doors:
            door.bind((HOST, 0))
        return [door.getsockname()[1] for door in doors]
