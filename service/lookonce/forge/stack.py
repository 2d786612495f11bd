"""A graph made for one picture, working on a stack of them.

Every tensor that depends on the picture becomes N such tensors, folded picture by picture into one of its sides: its
seat. A node keeps its meaning for each picture as long as it leaves the seat alone; where it would not, the seat moves
first, and a tensor without pictures is repeated for each where the node does not repeat it by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from lookonce.forge.pen import Pen

Shape = tuple[int, ...]
MOVE, SPREAD = 1, 10


class Stuck(Exception):
    """A node is not known to work on a stack."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way for a node to work on stacks: the seat of its outputs, and of each input; None: one without pictures.

    `broadcasts`: sides of 1 meet any side; `alike`: the sides that hold the pictures are of one length.
    """

    output: int
    inputs: tuple[int | None, ...]
    broadcasts: bool = False
    alike: bool = True


class Stack:
    """`shapes` are those of the graph as it came, for one picture."""

    def __init__(
        self, pen: Pen, shapes: Mapping[str, Shape], pictures: Iterable[str], constants: Mapping[str, np.ndarray]
    ) -> None:
        self.pen = pen
        self.constants = dict(constants)
        self._shapes = shapes
        self._seats = dict.fromkeys(pictures, 0)
        self._moved: dict[tuple[str, int], str] = {}
        self._first = next(iter(self._seats))

    def shape(self, tensor: str) -> Shape:
        known = self._shapes.get(tensor)
        if known is None:
            raise Stuck(f"the shape of {tensor} is not known")
        return known

    def constant(self, tensor: str) -> np.ndarray:
        if tensor not in self.constants:
            raise Stuck(f"{tensor} is no constant")
        return self.constants[tensor]

    def is_stacked(self, tensor: str) -> bool:
        return tensor in self._seats

    def seat(self, tensor: str) -> int | None:
        return self._seats.get(tensor)

    def settle(self, node: onnx.NodeProto, ways: Iterable[Way]) -> Way:
        """The cheapest of the ways, once the node's inputs sit as it says; its outputs sit from then on."""
        priced = [(cost, way) for way in ways if (cost := self._cost(node, way)) is not None]
        if not priced:
            raise Stuck(f"{node.op_type} {node.name} has no way to work on a stack")
        way = min(priced, key=lambda entry: entry[0])[1]
        for place, seat in enumerate(way.inputs):
            if seat is not None and not self._repeats_itself(node, way, place):
                node.input[place] = self.seated(node.input[place], seat)
        self._seats.update(dict.fromkeys(filter(None, node.output), way.output))
        return way

    def seated(self, tensor: str, seat: int) -> str:
        """The tensor with its pictures at that seat."""
        if self._seats.get(tensor) == seat:
            return tensor
        if (tensor, seat) not in self._moved:
            self._moved[tensor, seat] = (
                self._move(tensor, seat) if self.is_stacked(tensor) else self._spread(tensor, seat)
            )
        return self._moved[tensor, seat]

    def turns(self, rank: int) -> str:
        """0, 1, … N−1, with so many sides."""
        pen = self.pen
        zero, one = (pen.reshape(pen.ints(value)) for value in (0, 1))
        count = pen.draw("Gather", pen.draw("Shape", self._first), zero, axis=0)
        return pen.reshape(pen.draw("Range", zero, count, one), -1, *[1] * (rank - 1))

    def fold(self, tensor: str, shape: Shape, seat: int) -> str:
        return self.pen.reshape(tensor, *shape[:seat], -1, *shape[seat + 1 :])

    def unfold(self, tensor: str, shape: Shape, seat: int) -> str:
        """The pictures in a side of their own, before the seat."""
        return self.pen.reshape(tensor, *shape[:seat], -1, *shape[seat:])

    def _move(self, tensor: str, seat: int) -> str:
        shape, now = self.shape(tensor), self._seats[tensor]
        order = [place for place in range(len(shape) + 1) if place != now]
        order.insert(seat, now)
        return self.fold(self.pen.transpose(self.unfold(tensor, shape, now), *order), shape, seat)

    def _spread(self, tensor: str, seat: int) -> str:
        pen, shape = self.pen, self.shape(tensor)
        count = pen.cut(pen.draw("Shape", self._first), 0, 0, 1)
        ones = [pen.ints(*[1] * side) if side else None for side in (seat, len(shape) - seat)]
        sides = [side for side in (ones[0], count, ones[1]) if side]
        return self.fold(pen.draw("Expand", pen.unsqueeze(tensor, seat), pen.join(sides, 0)), shape, seat)

    def _cost(self, node: onnx.NodeProto, way: Way) -> int | None:
        total, side = 0, None
        for place, seat in enumerate(way.inputs):
            name = node.input[place]
            if seat is None:
                if self.is_stacked(name):
                    return None
                continue
            if self._repeats_itself(node, way, place):
                continue
            here = self.shape(name)[seat]
            if way.alike and side not in (None, here):
                return None
            side = here
            total += (0 if self._seats[name] == seat else MOVE) if self.is_stacked(name) else SPREAD
        return total

    def _repeats_itself(self, node: onnx.NodeProto, way: Way, place: int) -> bool:
        """A side of 1 without pictures meets every picture, where the node broadcasts."""
        name, seat = node.input[place], way.inputs[place]
        return way.broadcasts and seat is not None and not self.is_stacked(name) and self.shape(name)[seat] == 1
