"""Ports that are opened, and the HTTP servers behind them."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from lookonce.errors import GatewayFailed
from lookonce.http_protocol import HttpProtocol

PING_S: Final = 20.0
KEEP_ALIVE_S: Final = 75


@dataclass(frozen=True, slots=True)
class Address:
    """`setting` is what moves it elsewhere."""

    host: str
    port: int
    setting: str


class Door(uvicorn.Server):
    """An HTTP server that leaves the signals of the process alone and tells when it is open."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.opened = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.opened.set()


def door(app: ASGIApp, *, max_frame_bytes: int, grace_s: float, tls: ssl.SSLContext | None = None) -> Door:
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="websockets-sansio",
        ws_max_size=max_frame_bytes,
        ws_max_queue=2,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    config.load()
    config.ssl = tls
    return Door(config)


@asynccontextmanager
async def opened(server: Door, address: Address) -> AsyncIterator[int]:
    """The port on which the server listens; on the way out it stops listening and finishes what it has begun."""
    listener = listen(address)
    port: int = listener.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        group.create_task(_serving(server, listener))
        await server.opened.wait()
        try:
            yield port
        finally:
            server.should_exit = True


async def _serving(server: Door, listener: socket.socket) -> None:
    await server.serve(sockets=[listener])
    if not server.should_exit:
        raise GatewayFailed("a server ended though nobody asked it to; look into the log.")


def listen(address: Address) -> socket.socket:
    """A listening socket; of a name its first address, and `::` is IPv4 too, as it is for gRPC.

    Raises GatewayFailed, naming the setting, where the port cannot be had.
    """
    try:
        family, *_, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        both = where[0] == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(where[:2], family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise GatewayFailed(
            f"port {address.port} of {address.host} cannot be opened ({why}); "
            f"free it, or choose another one with {address.setting}."
        ) from error
    # What is accepted inherits it. asyncio, unlike uvloop, sets it only where a socket names its protocol, and without
    # it an answer on a kept connection waits 40 ms for the caller's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
