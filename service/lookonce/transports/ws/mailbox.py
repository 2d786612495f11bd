"""A mailbox with room for one: a newer letter takes the place of the one that nobody has fetched yet."""

import asyncio
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Mailbox(Generic[T]):
    """Read it with `async for`: it hands out what is newest, and after `close` what still lies in it."""

    dropped: int = 0
    _newest: T | None = None
    _is_closed: bool = False
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, letter: T) -> None:
        self.dropped += self._newest is not None
        self._newest = letter
        self._bell.set()

    def close(self) -> None:
        self._is_closed = True
        self._bell.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await self._bell.wait()
        letter, self._newest = self._newest, None
        if letter is None:
            raise StopAsyncIteration
        if not self._is_closed:
            self._bell.clear()
        return letter
