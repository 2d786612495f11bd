"""How much one client may have: images out of a bucket that fills with time, and turns that are open at once."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from lookonce.errors import ImageTooLarge, RateLimited

ROUNDING: Final = 1e-4
"""Of an image: whoever comes back when told to must not miss it by the last bit of a clock."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """None is without limit."""

    images_per_s: float | None = None
    burst: int | None = None
    concurrency: int | None = None

    @property
    def bucket(self) -> int:
        """The most images at once; one second's worth unless the burst says otherwise."""
        return self.burst or math.ceil(self.images_per_s or 0)


class Meter:
    """What one client has used of its allowance. `clock` is in seconds."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float]) -> None:
        self._allowance, self._clock = allowance, clock
        self._left, self._filled_at = float(allowance.bucket), clock()
        self._open = 0

    def allow(self, allowance: Allowance) -> None:
        """From now on; what was used stays used."""
        used = self._allowance.bucket - self._filled()
        self._allowance, self._left = allowance, max(0.0, allowance.bucket - used)

    def take(self, images: int) -> None:
        rate, bucket = self._allowance.images_per_s, self._allowance.bucket
        if rate is None:
            return
        if images > bucket:
            raise ImageTooLarge(f"the request holds {images} images and this key may send {bucket} at once; split it.")
        missing = images - self._filled()
        if missing > ROUNDING:
            raise RateLimited(f"this key may send {rate:g} images a second; try again shortly.", missing / rate)
        self._left -= images

    @contextmanager
    def turn(self) -> Iterator[None]:
        most = self._allowance.concurrency
        if most is not None and self._open >= most:
            raise RateLimited(f"this key may have {most} requests and streams open at once; wait for one to end.")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _filled(self) -> float:
        """The images that may be taken now."""
        now = self._clock()
        gained = (now - self._filled_at) * (self._allowance.images_per_s or 0)
        self._left, self._filled_at = min(self._allowance.bucket, self._left + gained), now
        return self._left
