"""Draws ONNX nodes, in whatever dialect the model's opset speaks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Pen:
    """Collects nodes and constants; each method gives the name of the tensor it draws."""

    def __init__(self, prefix: str, opset: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._opset = opset

    def draw(self, kind: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        name = f"{self._prefix}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def const(self, value: NDArray[Any]) -> str:
        name = f"{self._prefix}/const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def floats(self, value: object) -> str:
        return self.const(np.asarray(value, np.float32))

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def cast(self, tensor: str, to: int) -> str:
        return self.draw("Cast", tensor, to=to)

    def to_float(self, tensor: str) -> str:
        return self.cast(tensor, onnx.TensorProto.FLOAT)

    def alias(self, tensor: str, name: str, kind: int) -> None:
        """Gives a tensor a name that the rest of the graph knows, as that kind."""
        self.nodes.append(helper.make_node("Cast", [tensor], [name], name=f"{self._prefix}/as/{name}", to=kind))

    def add(self, first: str, second: str) -> str:
        return self.draw("Add", first, second)

    def mul(self, first: str, second: str) -> str:
        return self.draw("Mul", first, second)

    def join(self, tensors: Sequence[str], axis: int) -> str:
        return tensors[0] if len(tensors) == 1 else self.draw("Concat", *tensors, axis=axis)

    def cut(self, tensor: str, axis: int, start: int, stop: int) -> str:
        """`tensor[start:stop]` along one axis."""
        return self.draw("Slice", tensor, self.ints(start), self.ints(stop), self.ints(axis))

    def last(self, tensor: str, start: int, stop: int) -> str:
        return self.cut(tensor, -1, start, stop)

    def reshape(self, tensor: str, *shape: int) -> str:
        """0 keeps a side, −1 fits it."""
        return self.draw("Reshape", tensor, self.ints(*shape))

    def transpose(self, tensor: str, *order: int) -> str:
        return self.draw("Transpose", tensor, perm=order)

    def unsqueeze(self, tensor: str, axis: int) -> str:
        if self._opset < 13:
            return self.draw("Unsqueeze", tensor, axes=[axis])
        return self.draw("Unsqueeze", tensor, self.ints(axis))

    def greatest(self, tensor: str, axis: int) -> str:
        """The maximum along one axis, which is dropped."""
        if self._opset < 18:
            return self.draw("ReduceMax", tensor, axes=[axis], keepdims=0)
        return self.draw("ReduceMax", tensor, self.ints(axis), keepdims=0)

    def which_greatest(self, tensor: str) -> str:
        """The place of the maximum along the last axis, kept with one side, as a float."""
        return self.to_float(self.draw("ArgMax", tensor, axis=-1, keepdims=1))

    def top(self, scores: str, k: int) -> tuple[str, str]:
        """The K greatest of [N,A], sorted, and where they were."""
        values = self.draw("TopK", scores, self.ints(k), axis=1, largest=1, sorted=1)
        places = f"{values}/places"
        self.nodes[-1].output.append(places)
        return values, places
