"""A row of slots, lent to whoever asks first."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """`count` slots side by side, lent in runs of neighbours, first come first served.

    The lowest that are free go first, so that memory which is never needed at once is never touched.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = _run(0, count)
        self._line: deque[tuple[int, asyncio.Future[int]]] = deque()

    @property
    def free(self) -> int:
        return self._free.bit_count()

    @asynccontextmanager
    async def lent(self, length: int) -> AsyncIterator[int]:
        """The first of `length` neighbours, at most `count`; whoever finds none free waits in line."""
        first = await self._taken(length)
        try:
            yield first
        finally:
            self._give_back(first, length)

    async def _taken(self, length: int) -> int:
        first = None if self._line else self._first_free(length)
        if first is not None:
            self._free &= ~_run(first, length)
            return first
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._line.append((length, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            self._give_up(length, turn)
            raise

    def _give_up(self, length: int, turn: asyncio.Future[int]) -> None:
        """Whoever goes away in the moment of being called has its slots already."""
        if turn.cancelled():
            self._call_next()
        else:
            self._give_back(turn.result(), length)

    def _give_back(self, first: int, length: int) -> None:
        self._free |= _run(first, length)
        self._call_next()

    def _call_next(self) -> None:
        while self._line:
            length, turn = self._line[0]
            first = None if turn.cancelled() else self._first_free(length)
            if first is None and not turn.cancelled():
                return
            self._line.popleft()
            if first is not None:
                self._free &= ~_run(first, length)
                turn.set_result(first)

    def _first_free(self, length: int) -> int | None:
        """Bit n of `starts` stays set where the slots n to n + length - 1 are all free."""
        starts = self._free
        for shift in range(1, length):
            starts &= self._free >> shift
        return (starts & -starts).bit_length() - 1 if starts else None


def _run(first: int, length: int) -> int:
    return ((1 << length) - 1) << first
