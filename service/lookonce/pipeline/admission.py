"""A bounded number of things at once: who cannot wait is refused, who can waits in line."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from lookonce.errors import Overloaded


@dataclass(slots=True)
class Admission:
    """`limit` of `what` at once, first come first served.

    Those who wait hold three quarters of it at most: else those who cannot would never find room beside them.
    """

    limit: int
    what: str = "images"
    in_flight: int = 0
    _patient: int = 0
    _line: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def limit_for_patient(self) -> int:
        return max(1, self.limit * 3 // 4)

    def room_for(self, images: int, *, patient: bool) -> "Room":
        return Room(self, min(images, self.limit_for_patient if patient else self.limit), patient)

    async def enter(self, images: int, *, patient: bool) -> None:
        if patient:
            await self._wait(images)
        else:
            self.refuse_when_full(images)
            self.in_flight += images

    def leave(self, images: int, *, patient: bool) -> None:
        self.in_flight -= images
        self._patient -= images if patient else 0
        self._call_next()
        self._left.set()

    def refuse_when_full(self, images: int = 1) -> None:
        if self.in_flight + images > self.limit:
            raise Overloaded(f"all {self.limit} {self.what} that are taken at once are taken; try again shortly.")

    async def empty(self) -> None:
        """Wait until nobody is left inside."""
        while self.in_flight:
            self._left.clear()
            await self._left.wait()

    async def _wait(self, images: int) -> None:
        if not self._line and self._has_room_for_patient(images):
            self._let_in(images)
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((images, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self._give_up(images, turn)
            raise

    def _give_up(self, images: int, turn: asyncio.Future[None]) -> None:
        """Whoever goes away in the moment of being called has its room already; others may have been passed over."""
        if not turn.cancelled():
            self.leave(images, patient=True)
            return
        with suppress(ValueError):
            self._line.remove((images, turn))
        self._call_next()

    def _call_next(self) -> None:
        """Whoever was cancelled and has not noticed yet takes no room."""
        while self._line and self._has_room_for_patient(self._line[0][0]):
            images, turn = self._line.popleft()
            if not turn.cancelled():
                self._let_in(images)
                turn.set_result(None)

    def _has_room_for_patient(self, images: int) -> bool:
        return self._patient + images <= self.limit_for_patient and self.in_flight + images <= self.limit

    def _let_in(self, images: int) -> None:
        self.in_flight += images
        self._patient += images


@dataclass(frozen=True, slots=True)
class Room:
    """Held while the block lasts."""

    admission: Admission
    images: int
    patient: bool

    async def __aenter__(self) -> None:
        await self.admission.enter(self.images, patient=self.patient)

    async def __aexit__(self, *_raised: object) -> None:
        self.admission.leave(self.images, patient=self.patient)
