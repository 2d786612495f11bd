"""The threads that decode: as many as this process may use CPUs, whatever the machine has."""

import asyncio
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2

from lookonce.errors import Draining

T = TypeVar("T")
AHEAD: Final = 2
"""Requests that stand ready for when a thread is free."""

CGROUP_V2: Final = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1: Final = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


class Workers:
    """Threads without a queue: who finds none free waits as a coroutine, and leaves nothing behind on going away.

    So no more pictures are unpacked at once than there are threads, whatever becomes of those who sent them.
    0 threads: one for each CPU. OpenCV's own stay out of it, for there is a picture on every core; its words too.
    """

    def __init__(self, threads: int = 0) -> None:
        cv2.setNumThreads(1)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self.count = threads or cpus()
        self._threads = ThreadPoolExecutor(self.count, "pictures")
        self._free = asyncio.Semaphore(self.count)
        self._places = asyncio.Semaphore(self.count + AHEAD)

    def place(self) -> "Place":
        """In the line before the threads, for a whole request: who is further behind takes no memory for pixels yet."""
        return Place(self._places)

    async def run(self, work: Callable[..., T], *given: object) -> T:
        """The outcome of `work`. What has begun cannot be stopped: whoever is cancelled goes when it has ended.

        So nobody's memory is written to after it was given back.
        """
        async with self._free:
            try:
                working = asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
            except RuntimeError as error:
                raise Draining("this gateway has shut down; ask again and another one will answer.") from error
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                await _ended(working)
                raise

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Place:
    """Held until it is given up, and no longer than the block lasts."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places, self._is_held = places, False

    async def __aenter__(self) -> "Place":
        await self._places.acquire()
        self._is_held = True
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.give_up()

    def give_up(self) -> None:
        if self._is_held:
            self._is_held = False
            self._places.release()


async def _ended(working: asyncio.Future[Any]) -> None:
    """However often the one who waits is cancelled, and whatever comes of it."""
    while not working.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((working,))
    if not working.cancelled():
        working.exception()


def cpus() -> int:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = quota(_words(CGROUP_V2)) or quota([*_words(CGROUP_V1[0]), *_words(CGROUP_V1[1])])
    return min(affinity, share or affinity)


def quota(words: list[str]) -> int | None:
    """CPUs of a cgroup that says `QUOTA PERIOD` in microseconds, rounded up; None where it sets no limit."""
    if len(words) != 2 or not words[0].isdecimal() or not words[1].isdecimal():
        return None
    return max(1, math.ceil(int(words[0]) / int(words[1]))) if int(words[1]) else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
