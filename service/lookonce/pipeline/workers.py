"""The threads that decode: as many as this process may use CPUs, whatever the machine has."""

import asyncio
import atexit
import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

import cv2

from lookonce.errors import Draining
from lookonce.inference.port import Canvas

T = TypeVar("T")
AHEAD: Final = 2
"""Requests that stand ready for when a thread is free."""

CGROUP_V2: Final = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1: Final = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


class Workers:
    """Threads without a queue: who finds none free waits as a coroutine, and leaves nothing behind on going away.

    So no more pictures are unpacked at once than there are threads, whatever becomes of those who sent them.
    0 threads: one for each CPU. OpenCV's own stay out of it, for there is a picture on every core; its words too.
    Threads of concurrent.futures would have to take the interpreter's lock oftener, which costs 3% of a request.
    """

    def __init__(self, threads: int = 0) -> None:
        cv2.setNumThreads(1)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self.count = threads or cpus()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._is_closed = False
        self._free = asyncio.Semaphore(self.count)
        self._places = asyncio.Semaphore(self.count + AHEAD)
        self._threads = [
            Thread(target=_labour, args=(self._jobs,), name=f"pictures {number}", daemon=True)
            for number in range(self.count)
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self._wait)

    def place(self) -> "Place":
        """In the line before the threads, for a whole request: who is further behind takes no memory for pixels yet."""
        return Place(self._places)

    async def run(self, work: Callable[..., T], *given: object, on: Canvas | None = None) -> T:
        """The outcome of `work`. Whoever is cancelled goes at once; what has begun cannot be stopped.

        It keeps its thread, and the canvas that it draws `on`, until it has ended.
        """
        await self._free.acquire()
        if self._is_closed:
            self._free.release()
            raise Draining("this gateway has shut down; ask again and another one will answer.")
        if on is not None:
            on.hold()
        job = Job(partial(work, *given), partial(self._end, on))
        self._jobs.put(job)
        outcome: T = await job.outcome
        return outcome

    def _end(self, canvas: Canvas | None) -> None:
        self._free.release()
        if canvas is not None:
            canvas.let_go()

    def close(self) -> None:
        """What has begun is finished, before the process ends: C++ does not bear to be left in the middle."""
        if not self._is_closed:
            self._is_closed = True
            for _ in self._threads:
                self._jobs.put(None)

    def _wait(self) -> None:
        self.close()
        for thread in self._threads:
            thread.join()


class Job:
    """Something to do on a thread, for the loop it was made in, where `end` is called after it."""

    __slots__ = ("_end", "_loop", "_work", "outcome")

    def __init__(self, work: Callable[[], object], end: Callable[[], None]) -> None:
        self._work, self._end = work, end
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self._loop.create_future()

    def do(self) -> None:
        """On the thread."""
        outcome: object = None
        error: BaseException | None = None
        try:
            outcome = self._work()
        except StopIteration as raised:  # which no future can hold
            error = RuntimeError("the work ended with StopIteration.").with_traceback(raised.__traceback__)
        except BaseException as raised:  # noqa: BLE001  whatever it is, who waits is told
            error = raised
        with suppress(RuntimeError):  # the loop has been closed: nobody waits
            self._loop.call_soon_threadsafe(self._settle, outcome, error)
        del outcome, error  # else an error and this frame would keep each other, and the picture

    def _settle(self, outcome: object, error: BaseException | None) -> None:
        self._end()
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(outcome)
        else:
            self.outcome.set_exception(error)


def _labour(jobs: "SimpleQueue[Job | None]") -> None:
    while (job := jobs.get()) is not None:
        job.do()
        del job  # else its picture would stay until the next one comes


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
