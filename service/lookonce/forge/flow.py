"""What a served graph computes where: its heavy work, its constants, and the arithmetic of boxes behind the heads."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

Index: TypeAlias = int
"""A node's place in its graph."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
MOVERS = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad",
        "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that put values elsewhere and change none."""
MEASURES = frozenset({"Shape", "Size"})
COORDINATES = 4
"""A contraction over so few values mixes coordinates (cxcywh to xyxy as a matrix), not features."""


def has_control_flow(graph: GraphProto) -> bool:
    nested = AttributeProto.GRAPH, AttributeProto.GRAPHS
    return any(attribute.type in nested for node in graph.node for attribute in node.attribute)


def opset_of(model: ModelProto, domain: str = "") -> int:
    return next((entry.version for entry in model.opset_import if (entry.domain or "") == domain), 1)


@dataclass(frozen=True)
class Flow:
    """A graph, and who makes and who takes each of its tensors."""

    graph: GraphProto

    @cached_property
    def nodes(self) -> tuple[NodeProto, ...]:
        return tuple(self.graph.node)

    @cached_property
    def maker(self) -> dict[str, Index]:
        return {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def takers(self) -> dict[str, list[Index]]:
        takers = dict[str, list[Index]]()
        for index, node in enumerate(self.nodes):
            for name in filter(None, node.input):
                takers.setdefault(name, []).append(index)
        return takers

    @cached_property
    def constants(self) -> dict[str, TensorProto]:
        """Initialisers, the values of Constant nodes, and other names that Identity nodes give to either."""
        found = {tensor.name: tensor for tensor in self.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                found[node.output[0]] = node.attribute[0].t
            if node.op_type == "Identity" and node.input[0] in found:
                found[node.output[0]] = found[node.input[0]]
        return found

    def constant(self, name: str) -> NDArray[Any]:
        return numpy_helper.to_array(self.constants[name])

    def makers_of(self, index: Index) -> Iterator[Index]:
        return (self.maker[name] for name in self.nodes[index].input if name in self.maker)

    def takers_of(self, index: Index) -> Iterator[Index]:
        return (taker for name in self.nodes[index].output for taker in self.takers.get(name, ()))

    @cached_property
    def featured(self) -> frozenset[str]:
        """Tensors that carry features: all that a weighted node stands in front of, but for mere sizes."""
        featured = set[str]()
        for index, node in enumerate(self.nodes):
            reached = index in self.heavy or any(name in featured for name in node.input)
            if reached and node.op_type not in MEASURES:
                featured.update(filter(None, node.output))
        return frozenset(featured)

    @cached_property
    def heavy(self) -> frozenset[Index]:
        """Nodes that apply learned weights to what comes from the picture."""
        return frozenset(index for index in range(len(self.nodes)) if self._is_heavy(index))

    def weight_of(self, index: Index) -> str | None:
        """The constant a weighted node applies, if it has one and it is a matrix or a kernel."""
        node = self.nodes[index]
        if node.op_type not in WEIGHTED:
            return None
        names = [name for name in reversed(node.input[:2]) if name in self._static]
        return names[0] if len(names) == 1 else None

    def behind(self, names: Iterable[str]) -> frozenset[Index]:
        """Every node between the last heavy nodes and these tensors: where boxes are decoded."""
        waiting, found = [self.maker[name] for name in names if name in self.maker], set[Index]()
        while waiting:
            index = waiting.pop()
            if index in found or index in self.heavy:
                continue
            found.add(index)
            waiting.extend(self.makers_of(index))
        return frozenset(found)

    def last_heavy(self) -> frozenset[Index]:
        """The heavy nodes that hand their values to the decoding."""
        decoding = self.behind(output.name for output in self.graph.output)
        return frozenset(maker for index in decoding for maker in self.makers_of(index) if maker in self.heavy)

    @cached_property
    def _static(self) -> frozenset[str]:
        """Tensors that no picture changes."""
        static = {tensor.name for tensor in self.graph.initializer}
        for node in self.nodes:
            if all(name in static for name in node.input if name):
                static.update(filter(None, node.output))
        return frozenset(static)

    def _is_heavy(self, index: Index) -> bool:
        weight = self.weight_of(index)
        return weight is not None and self._contracts(index, weight) > COORDINATES and not self._is_expectation(index)

    def _contracts(self, index: Index, weight: str) -> int:
        """How many values one output value is a weighted sum of; unknown weights count as many."""
        if weight not in self.constants:
            return COORDINATES + 1
        node, shape = self.nodes[index], tuple(self.constants[weight].dims)
        if node.op_type in {"Conv", "ConvTranspose"}:
            return prod(shape[1:]) if node.op_type == "Conv" else shape[0] * prod(shape[2:])
        is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return shape[-1] if len(shape) == 1 or is_transposed or weight == node.input[0] else shape[-2]

    def _is_expectation(self, index: Index) -> bool:
        """Weights over a softmax: the mean of a distribution over distances (DFL), so box arithmetic."""
        seen = self._without_movers(self.nodes[index].input[0])
        return seen is not None and self.nodes[seen].op_type == "Softmax"

    def _without_movers(self, name: str) -> Index | None:
        index = self.maker.get(name)
        while index is not None and self.nodes[index].op_type in MOVERS:
            index = self.maker.get(self.nodes[index].input[0])
        return index


def values_of(flow: Flow, index: Index) -> list[NDArray[np.floating[Any]]]:
    """The floating-point constants that a node takes."""
    taken = (flow.constant(name) for name in flow.nodes[index].input if name in flow.constants)
    return [values for values in taken if values.dtype == np.float32]


def named(flow: Flow, names: Collection[str]) -> frozenset[Index]:
    return frozenset(index for index, node in enumerate(flow.nodes) if node.name and node.name in names)
