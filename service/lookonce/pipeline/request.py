"""What is asked of the detector, and what it answers."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookonce.card import Card
from lookonce.errors import ServiceError
from lookonce.vision.letterbox import Boxes

Picture: TypeAlias = bytes | bytearray | memoryview
"""A picture as a file holds it."""

_STEPS: Final = {False: np.array([1e2, 1e2, 1e2, 1e2, 1e4, 1]), True: np.array([1e6, 1e6, 1e6, 1e6, 1e4, 1])}
"""How many parts of a pixel, or of a side where normalized, of a score and of a class id are told apart."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller wants of the detections; None leaves it to the model's card."""

    confidence: float | None = None
    iou: float | None = None
    classes: tuple[int | str, ...] = ()
    max_detections: int = 300
    class_agnostic: bool = False
    soft: bool = False
    normalized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Pictures for one model. One that could not be had stands here as its error, and is answered by it.

    `until` is on the event loop's clock. `patient`: wait for room instead of being refused.
    """

    pictures: Sequence[Picture | ServiceError]
    until: float
    model: str | None = None
    version: int | None = None
    options: Options = field(default_factory=Options)
    request_id: str = ""
    traceparent: str = ""
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture's detections: rows `x1 y1 x2 y2 score class_id`, in its own pixels, or in shares of its sides."""

    size_wh: tuple[int, int]
    rows: Boxes
    normalized: bool = False

    @property
    def numbers(self) -> list[list[float]]:
        """The rows in Python's own numbers, as short as they are meant: 123.46 where FP32 holds 123.45999908."""
        numbers: list[list[float]] = rounded(self.rows, normalized=self.normalized).tolist()
        return numbers

    @property
    def rows_px(self) -> Boxes:
        """The rows in pixels, whichever they are in."""
        width, height = self.size_wh if self.normalized else (1, 1)
        return self.rows * np.array([width, height, width, height, 1, 1], np.float32)


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds. Of pictures prepared side by side the slowest one counts."""

    decode: float
    letterbox: float
    inference: float
    nms: float
    total: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One result for each picture, in their order."""

    card: Card
    results: tuple[Seen | ServiceError, ...]
    timings_ms: Timings

    @property
    def rows(self) -> int:
        """How many detections there are in all."""
        return sum(len(each.rows) for each in self.results if isinstance(each, Seen))

    def only(self) -> Seen:
        """The result of a request with one picture; raises what was wrong with it."""
        (result,) = self.results
        if isinstance(result, ServiceError):
            raise copy(result)  # which, raised itself, would remember who holds it, and so keep itself alive
        return result


def rounded(rows: Boxes, *, normalized: bool) -> NDArray[np.float64]:
    """Rows to a hundredth of a pixel, or a millionth of a side."""
    steps = _STEPS[normalized]
    exact: NDArray[np.float64] = np.rint(rows * steps) / steps
    return exact
