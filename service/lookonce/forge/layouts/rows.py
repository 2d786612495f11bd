"""The parts a layout is drawn from: rows before the top-K, and how the K that are kept become boxes and classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from lookonce.forge.pen import Pen
from lookonce.vision.heads import Floats, HeadSpec

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """A model's outputs as FP32 tensors in a graph, with the shapes they have for one picture."""

    tensors: Sequence[str]
    shapes: Sequence[Shape]
    spec: HeadSpec


@dataclass(frozen=True, slots=True)
class Kept:
    """The K best anchors: their raw rows [N,K,D] and their places [N,K]."""

    rows: str
    places: str


Finish: TypeAlias = Callable[[Pen, Kept], str]


@dataclass(frozen=True, slots=True)
class Rows:
    """Raw rows [N,A,D] (`axis` 1) or columns [N,D,A] (`axis` 2), a score [N,A], and what finishes the rows kept.

    `box` gives xyxy px [N,K,4], `label` the class as a float [N,K,1]. Both see K rows, not A, which makes them cheap.
    """

    raw: str
    depth: int
    score: str
    box: Finish
    label: Finish
    axis: Literal[1, 2] = 1


Draw: TypeAlias = Callable[[Pen, Head], Rows]


def table(values: Floats) -> Finish:
    """Constants [A,c] of the anchors that were kept, [N,K,c]."""
    return lambda pen, kept: pen.draw("Gather", pen.floats(values), kept.places, axis=0)


def raw_box(pen: Pen, kept: Kept) -> str:
    return pen.last(kept.rows, 0, 4)


def centre_box(pen: Pen, kept: Kept) -> str:
    return corners(pen, pen.last(kept.rows, 0, 2), pen.last(kept.rows, 2, 4))


def corners(pen: Pen, centre: str, size: str) -> str:
    half = pen.mul(size, pen.floats(0.5))
    return pen.join([pen.draw("Sub", centre, half), pen.add(centre, half)], -1)


def scaled(box: Finish, spec: HeadSpec) -> Finish:
    """A box in shares of the picture, in pixels."""
    size = np.array([spec.width, spec.height] * 2, np.float32)
    return lambda pen, kept: pen.mul(box(pen, kept), pen.floats(size))


def best_of(start: int, depth: int) -> Finish:
    """The class whose score, from column `start` on, is the greatest."""
    return lambda pen, kept: pen.which_greatest(pen.last(kept.rows, start, depth))


def column(place: int) -> Finish:
    return lambda pen, kept: pen.last(kept.rows, place, place + 1)
