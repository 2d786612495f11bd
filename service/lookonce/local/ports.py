"""The three doors of a local Triton, all on loopback."""

import errno
import os
import socket
from dataclasses import dataclass, fields
from typing import Final

from lookonce.errors import LocalTritonFailed

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


def refuse_taken(ports: Ports) -> None:
    """Raises, naming the option that moves it, when one of the ports cannot be opened here."""
    seen = dict[int, str]()
    for field in fields(ports):
        option, port = f"--triton-{field.name}-port", getattr(ports, field.name)
        if port in seen:
            raise LocalTritonFailed(f"{seen[port]} and {option} both say {port}; give each a port of its own.")
        seen[port] = option
        _open(port, option)


def _open(port: int, option: str) -> None:
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            raise LocalTritonFailed(f"port {port} {_why(error)}; choose another one with {option}.") from error


def _why(error: OSError | OverflowError) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return "does not exist"
    if error.errno == errno.EADDRINUSE:
        return "is taken by another program"
    return f"cannot be opened ({os.strerror(error.errno)})"
