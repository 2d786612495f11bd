"""The gateway's life: open its doors, serve, and on a signal leave in good order."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from lookonce.app import GOODBYE_S, Gateway
from lookonce.doors import Address, Door, door, opened
from lookonce.errors import LookOnceError
from lookonce.logs import adopt_libraries
from lookonce.memory import keep_freed_memory

SLACK_BYTES: Final = 2**16
"""So that a frame that is a little too large is answered, where a larger one ends its stream."""

STOP_SIGNALS: Final = signal.SIGTERM, signal.SIGINT
Signals: TypeAlias = asyncio.Queue[signal.Signals]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gateway really listens: port 0 in the settings is any that is free."""

    http: int
    grpc: int
    admin: int


async def serve(gateway: Gateway, tell: Callable[[Ports], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; each one after it cuts short what is being waited for then."""
    keep_freed_memory()
    adopt_libraries(gateway.service.log)
    signals = Signals()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        async with running(gateway, signals) as ports, asyncio.TaskGroup() as group:
            telling = group.create_task(_tell_when_looked(gateway, partial(tell, ports)))
            await _drain(gateway, signals)
            telling.cancel()
    except* LookOnceError as group:
        raise _first(group) from group


async def _tell_when_looked(gateway: Gateway, tell: Callable[[], None]) -> None:
    await gateway.service.detector.catalogue.looked.wait()
    _settle()
    tell()


def _settle() -> None:
    """What has been made so far stays until the end, so the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


async def _drain(gateway: Gateway, signals: Signals) -> None:
    """Once told to go: not ready, so that nobody new is sent here, and serving for the while that takes."""
    received, drain_s = await signals.get(), gateway.settings.timeouts.drain_s
    gateway.service.life.leaving.set()
    gateway.service.log.info("leaving", signal=received.name, drain_s=drain_s)
    if drain_s:
        with suppress(TimeoutError):
            await asyncio.wait_for(signals.get(), drain_s)


@asynccontextmanager
async def running(gateway: Gateway, signals: Signals | None = None) -> AsyncIterator[Ports]:
    """The gateway with its doors open; on the way out what is in flight is finished, within the grace time.

    That ends early with the next of `signals`.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(gateway.close)
        keepers = await stack.enter_async_context(asyncio.TaskGroup())
        kept = [keepers.create_task(keep()) for keep in gateway.keepers]
        stack.callback(_cancel, kept)
        admin, public = doors_of(gateway)
        admin_port = await stack.enter_async_context(opened(*admin))
        http_port = await stack.enter_async_context(opened(*public))
        grpc_port = await stack.enter_async_context(gateway.rpc())
        stack.push_async_callback(_leave, gateway, signals or Signals())
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


async def _leave(gateway: Gateway, signals: Signals) -> None:
    """Refuse what is new, tell the streams, and wait for what is in flight."""
    life = gateway.service.life
    life.leaving.set()
    life.draining.set()
    waiting = [asyncio.ensure_future(_emptied(gateway)), asyncio.ensure_future(signals.get())]
    await asyncio.wait(waiting, timeout=gateway.settings.timeouts.grace_s, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


async def _emptied(gateway: Gateway) -> None:
    await gateway.service.streams.empty()
    await gateway.service.requests.empty()


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _first(group: BaseExceptionGroup[LookOnceError]) -> LookOnceError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LookOnceError)  # noqa: S101  of nothing else is the group
    return error
