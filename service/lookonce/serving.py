"""The gateway's life: open its doors, serve, and on a signal leave in good order."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from lookonce.app import GOODBYE_S, Gateway
from lookonce.doors import Address, Door, door, opened
from lookonce.errors import LookOnceError
from lookonce.logs import adopt_libraries

SLACK_BYTES: Final = 2**16
"""So that a frame that is a little too large is answered, where a larger one ends its stream."""

STOP_SIGNALS: Final = signal.SIGTERM, signal.SIGINT


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gateway really listens: port 0 in the settings is any that is free."""

    http: int
    grpc: int
    admin: int


async def serve(gateway: Gateway, tell: Callable[[Ports], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one cuts the drain short."""
    adopt_libraries(gateway.service.log)
    signals = asyncio.Queue[signal.Signals]()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        async with running(gateway) as ports, asyncio.TaskGroup() as group:
            telling = group.create_task(_tell_when_looked(gateway, partial(tell, ports)))
            await _drain(gateway, signals)
            telling.cancel()
    except* LookOnceError as group:
        raise _first(group) from group


async def _tell_when_looked(gateway: Gateway, tell: Callable[[], None]) -> None:
    await gateway.service.detector.catalogue.looked.wait()
    tell()


async def _drain(gateway: Gateway, signals: asyncio.Queue[signal.Signals]) -> None:
    """Once told to go: not ready, so that nobody new is sent here, and serving for the while that takes."""
    received, drain_s = await signals.get(), gateway.settings.timeouts.drain_s
    gateway.service.log.info("leaving", signal=received.name, drain_s=drain_s)
    gateway.service.life.leaving.set()
    with suppress(TimeoutError):
        await asyncio.wait_for(signals.get(), drain_s)


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Ports]:
    """The gateway with its doors open; on the way out what is in flight is finished, within the grace time."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(gateway.close)
        keepers = await stack.enter_async_context(asyncio.TaskGroup())
        kept = [keepers.create_task(keep()) for keep in gateway.keepers]
        stack.callback(_cancel, kept)
        admin, public = doors_of(gateway)
        admin_port = await stack.enter_async_context(opened(*admin))
        http_port = await stack.enter_async_context(opened(*public))
        grpc_port = await stack.enter_async_context(gateway.rpc())
        stack.push_async_callback(_leave, gateway)
        yield Ports(http_port, grpc_port, admin_port)


def doors_of(gateway: Gateway) -> tuple[tuple[Door, Address], tuple[Door, Address]]:
    """The admin's and the public one."""
    settings = gateway.settings
    max_bytes = settings.limits.max_bytes + SLACK_BYTES
    admin = Address(settings.admin.host, settings.admin.port, "LOOKONCE_ADMIN__PORT")
    public = Address(settings.server.host, settings.server.http_port, "LOOKONCE_SERVER__HTTP_PORT")
    return (
        (door(gateway.admin, max_frame_bytes=max_bytes, grace_s=GOODBYE_S), admin),
        (door(gateway.public, max_frame_bytes=max_bytes, grace_s=GOODBYE_S, tls=gateway.tls), public),
    )


async def _leave(gateway: Gateway) -> None:
    """Refuse what is new, tell the streams, and wait for what is in flight."""
    service = gateway.service
    service.life.leaving.set()
    service.life.draining.set()
    with suppress(TimeoutError):
        async with asyncio.timeout(gateway.settings.timeouts.grace_s):
            await service.streams.empty()
            await service.requests.empty()


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _first(group: BaseExceptionGroup[LookOnceError]) -> LookOnceError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LookOnceError)  # noqa: S101  of nothing else is the group
    return error
