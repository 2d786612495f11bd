"""Callers in a process of their own: they ask one server in one way, and print what became of it as a line of JSON.

`python callers.py ORDER`, where ORDER is an `Order` as JSON. A single answer that is no success ends it with an error.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias

import uvloop
from asking import WAYS, Ask, Order
from processes import cpu_s, resident_bytes

PATIENCE_S: Final = 600.0
IMAGES_A_SAMPLE: Final = 250

Due: TypeAlias = Callable[[], Awaitable[float | None]]
"""When the next request is due to be sent, by the clock of `time.perf_counter`; None where there is none left."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an order. `cpu_s` and `resident_bytes` are those of the process that was watched."""

    images: int
    took_s: float
    cpu_s: float
    latencies_ms: list[float]
    resident_bytes: list[int]


async def called(order: Order) -> Told:
    async with AsyncExitStack() as stack:
        asks = [await stack.enter_async_context(WAYS[order.way](order)) for _ in range(order.callers)]
        await _all_ask(asks, _one_after_the_other(0, order.warm_up_s))
        resident: list[int] = []
        cpu, wall = cpu_s(order.watch), time.perf_counter()
        latencies = await _all_ask(asks, _schedule(order), lambda: resident.append(resident_bytes(order.watch)))
        took_s, used_s = time.perf_counter() - wall, cpu_s(order.watch) - cpu
    return Told(len(latencies) * order.pictures, took_s, used_s, latencies, resident)


async def _all_ask(asks: list[Ask], due: Due, sample: Callable[[], None] = lambda: None) -> list[float]:
    """Every caller asks whenever something is due; latencies in ms, from when it was."""
    latencies: list[float] = []

    async def keep_asking(ask: Ask) -> None:
        while (moment := await due()) is not None:
            await ask()
            latencies.append(round(1000 * (time.perf_counter() - moment), 3))
            if len(latencies) % IMAGES_A_SAMPLE == 0:
                sample()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for ask in asks:
            group.create_task(keep_asking(ask))
    return latencies


def _schedule(order: Order) -> Due:
    if order.per_s:
        return _by_the_clock(order)
    return _one_after_the_other(order.requests, order.duration_s)


def _one_after_the_other(requests: int, duration_s: float) -> Due:
    """Each caller asks again once it was answered: so many times in all, or else for so long."""
    moments = _moments(requests, time.perf_counter() + duration_s)

    async def due() -> float | None:
        return next(moments, None)

    return due


def _moments(requests: int, end: float) -> Iterator[float]:
    given = 0
    while given < requests if requests else time.perf_counter() < end:
        given += 1
        yield time.perf_counter()


def _by_the_clock(order: Order) -> Due:
    """At a fixed rate, whatever becomes of those before; a thread keeps the time, for a loop does so by the ms."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[float | None]()

    def keep_time() -> None:
        began = time.perf_counter()
        for number in range(int(order.per_s * order.duration_s)):
            moment = began + number / order.per_s
            time.sleep(max(0.0, moment - time.perf_counter()))
            loop.call_soon_threadsafe(queue.put_nowait, moment)
        for _ in range(order.callers):
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=keep_time, daemon=True).start()
    return queue.get


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def main() -> int:
    order = Order(**json.loads(sys.argv[1]))
    try:
        told = uvloop.run(called(order))
    except Exception as error:  # noqa: BLE001  whatever it is, the bench tells it
        sys.exit(f"a caller failed with {_first(error)!r}")
    with open(sys.stdout.fileno(), "w", closefd=False) as out:  # print cuts it short when unbuffered
        json.dump(asdict(told), out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
