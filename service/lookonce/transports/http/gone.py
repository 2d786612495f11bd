"""Callers that hang up: what was begun for them is dropped."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.requests import Request

T = TypeVar("T")
AWHILE_S: Final = 0.05
"""Nobody looks sooner whether the caller is still there: most are answered by then, and it costs a task."""


class CallerGone(Exception):
    """Nobody is left to answer; the access log calls it 499."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The outcome of `work`, which is cancelled when the caller hangs up. For requests whose body has been read."""
    watch = Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.saw_leave and watch.task.cancelling() == 1:
            raise CallerGone("the caller hung up before it was answered.") from None
        raise
    finally:
        watch.end()


class Watch:
    """Cancels the task that set it up when the caller hangs up."""

    def __init__(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self.task, self.saw_leave, self._request = task, False, request
        self._looking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(AWHILE_S, self._look)

    def end(self) -> None:
        """What it has cancelled is taken back, whatever became of that."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
        if self.saw_leave:
            self.task.uncancel()

    def _look(self) -> None:
        self._looking = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.saw_leave = True
        self.task.cancel()
