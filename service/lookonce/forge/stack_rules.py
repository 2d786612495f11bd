"""What each kind of node does to a stack: the seats it can work with, and what must be rewritten in it."""

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper

from lookonce.forge.stack import Shape, Stack, Stuck, Way

Rule: TypeAlias = Callable[[Stack, onnx.NodeProto], None]
Axes: TypeAlias = Callable[[Stack, onnx.NodeProto, int], Iterable[int]]

ALIKE = (
    *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor"),
    *("Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu"),
    *("Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow"),
    *("Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Sub", "Sum", "Swish", "Tanh"),
    *("Where", "Xor"),
)
FIRST = (
    *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear"),
    *("GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "MaxPool"),
    *("QuantizeLinear", "SpaceToDepth", "Upsample"),
)
REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def alike(stack: Stack, node: onnx.NodeProto) -> None:
    """Sides meet from the right."""
    shapes = [stack.shape(name) if name else () for name in node.input]
    rank = max(map(len, shapes))
    stack.settle(node, (_meeting(axis, rank, shapes) for axis in range(rank)))


def matmul(stack: Stack, node: onnx.NodeProto) -> None:
    shapes = [stack.shape(name) for name in node.input]
    rank = max(map(len, shapes))
    if min(map(len, shapes)) < 2:
        raise Stuck("a product with a vector")
    ways = [_meeting(axis, rank, shapes) for axis in range(rank - 2)]
    ways += [Way(rank - 2, (len(shapes[0]) - 2, None)), Way(rank - 1, (None, len(shapes[1]) - 1))]
    stack.settle(node, ways)


def gemm(stack: Stack, node: onnx.NodeProto) -> None:
    side = 1 if attributes(node).get("transA", 0) else 0
    stack.settle(node, [Way(0, (side, *[None] * (len(node.input) - 1)))])


def einsum(stack: Stack, node: onnx.NodeProto) -> None:
    left, _, right = attributes(node)["equation"].decode().replace(" ", "").partition("->")
    terms = left.split(",")
    ways = [
        Way(place, tuple(term.index(letter) if letter in term else None for term in terms))
        for place, letter in enumerate(right)
    ]
    stack.settle(node, ways)


def first(stack: Stack, node: onnx.NodeProto) -> None:
    stack.settle(node, [Way(0, (0, *[None] * (len(node.input) - 1)))])


def resize(stack: Stack, node: onnx.NodeProto) -> None:
    first(stack, node)
    if len(node.input) > 3 and node.input[3]:
        count = stack.pen.cut(stack.pen.draw("Shape", node.input[0]), 0, 0, 1)
        node.input[3] = stack.pen.join([count, stack.pen.ints(*stack.shape(node.output[0])[1:])], 0)


def both_first(stack: Stack, node: onnx.NodeProto) -> None:
    stack.settle(node, [Way(0, (0, 0))])


def aside(busy: Axes) -> Rule:
    """Nodes that work along some sides of their first input and leave the others alone."""

    def rule(stack: Stack, node: onnx.NodeProto) -> None:
        rank = len(stack.shape(node.input[0]))
        taken = {axis % rank for axis in busy(stack, node, rank)}
        others = [None] * (len(node.input) - 1)
        free = [axis for axis in range(rank) if axis not in taken]
        dropped = taken if not attributes(node).get("keepdims", 1) else set()
        stack.settle(node, [Way(axis - sum(gone < axis for gone in dropped), (axis, *others)) for axis in free])

    return rule


def together(stack: Stack, node: onnx.NodeProto) -> None:
    """Nodes that work along one side of all their inputs."""
    rank = len(stack.shape(node.input[0]))
    busy = attributes(node).get("axis", 0) % rank
    stack.settle(node, [Way(axis, (axis,) * len(node.input)) for axis in range(rank) if axis != busy])


def transpose(stack: Stack, node: onnx.NodeProto) -> None:
    rank = len(stack.shape(node.input[0]))
    order = list(attributes(node).get("perm", range(rank)[::-1]))
    stack.settle(node, [Way(order.index(axis), (axis,)) for axis in range(rank)])


def reshape(stack: Stack, node: onnx.NodeProto) -> None:
    """The pictures stay where they lie in memory, so the same number of values must lie before them."""
    before, after = stack.shape(node.input[0]), stack.shape(node.output[0])
    if not prod(after):
        raise Stuck("an empty tensor")
    others = [None] * (len(node.input) - 1)
    way = stack.settle(node, [Way(there, (here, *others)) for here, there in _same_place(before, after)])
    _shape_as(stack, node, after, (way.output, -1))


def expand(stack: Stack, node: onnx.NodeProto) -> None:
    before, after = stack.shape(node.input[0]), stack.shape(node.output[0])
    ahead = len(after) - len(before)
    kept = [axis for axis, side in enumerate(before) if side == after[axis + ahead]]
    way = stack.settle(node, [Way(axis + ahead, (axis, None)) for axis in kept])
    _shape_as(stack, node, after, (way.output, 1))


def unsqueeze(stack: Stack, node: onnx.NodeProto) -> None:
    rank = len(stack.shape(node.output[0]))
    new = {axis % rank for axis in _axes(stack, node, rank)}
    old = [axis for axis in range(rank) if axis not in new]
    others = [None] * (len(node.input) - 1)
    stack.settle(node, [Way(there, (here, *others)) for here, there in enumerate(old)])


def squeeze(stack: Stack, node: onnx.NodeProto) -> None:
    before = stack.shape(node.input[0])
    said = {axis % len(before) for axis in _axes(stack, node, len(before))}
    gone = said if len(said) < len(before) else {axis for axis, side in enumerate(before) if side == 1}
    kept = [axis for axis in range(len(before)) if axis not in gone]
    others = [None] * (len(node.input) - 1)
    way = stack.settle(node, [Way(there, (here, *others)) for there, here in enumerate(kept)])
    _shape_as(stack, node, stack.shape(node.output[0]), (way.output, -1))


def gather(stack: Stack, node: onnx.NodeProto) -> None:
    data, places = (stack.shape(name) for name in node.input)
    axis = attributes(node).get("axis", 0) % len(data)
    if all(map(stack.is_stacked, node.input)) and places:
        _look_up_own(stack, node, Way(axis, (axis, 0), alike=False), np.array(data[axis]))
        return
    shift = len(places) - 1
    ways = [Way(side + shift * (side > axis), (side, None)) for side in range(len(data)) if side != axis]
    stack.settle(node, [*ways, *(Way(axis + side, (None, side)) for side in range(len(places)))])


def gather_nd(stack: Stack, node: onnx.NodeProto) -> None:
    data, places = (stack.shape(name) for name in node.input)
    if attributes(node).get("batch_dims", 0):
        both_first(stack, node)
    elif all(map(stack.is_stacked, node.input)) and len(places) > 1:
        _look_up_own(stack, node, Way(0, (0, 0), alike=False), np.array([data[0], *[0] * (places[-1] - 1)]))
    else:
        shift = len(places) - 1 - places[-1]
        ways = [Way(side + shift, (side, None)) for side in range(places[-1], len(data))]
        stack.settle(node, [*ways, *(Way(side, (None, side)) for side in range(len(places) - 1))])


def scatter_nd(stack: Stack, node: onnx.NodeProto) -> None:
    data, places = (stack.shape(name) for name in node.input[:2])
    if len(places) < 2:
        raise Stuck("one place for every picture")
    _look_up_own(stack, node, Way(0, (0, 0, 0), alike=False), np.array([data[0], *[0] * (places[-1] - 1)]))


def _look_up_own(stack: Stack, node: onnx.NodeProto, way: Way, step: np.ndarray) -> None:
    """Each picture's places count from where its own values begin."""
    shape, pen = stack.shape(node.input[1]), stack.pen
    stack.settle(node, [way])
    places = pen.cast(stack.unfold(node.input[1], shape, 0), onnx.TensorProto.INT64)
    steps = pen.mul(stack.turns(len(shape) + 1), pen.const(step.astype(np.int64)))
    node.input[1] = stack.fold(pen.add(places, steps), shape, 0)


def _meeting(axis: int, rank: int, shapes: Iterable[Shape]) -> Way:
    seats = tuple(axis - rank + len(shape) if axis >= rank - len(shape) else None for shape in shapes)
    return Way(axis, seats, broadcasts=True)


def _same_place(before: Shape, after: Shape) -> Iterator[tuple[int, int]]:
    for here in range(len(before)):
        for there in range(len(after)):
            if prod(before[:here]) == prod(after[:there]):
                yield here, there


def _shape_as(stack: Stack, node: onnx.NodeProto, shape: Shape, seat: tuple[int, int]) -> None:
    """Rewrites a node as one whose target shape is written down, with `seat[1]` for the side `seat[0]`."""
    sides = list(shape)
    sides[seat[0]] = seat[1]
    target = stack.pen.ints(*sides)
    node.op_type = "Expand" if node.op_type == "Expand" else "Reshape"
    node.input[:] = [node.input[0], target]
    del node.attribute[:]


def _axes(stack: Stack, node: onnx.NodeProto, rank: int) -> list[int]:
    said = attributes(node).get("axes")
    if said is None and len(node.input) > 1 and node.input[1]:
        said = stack.constant(node.input[1]).tolist()
    return list(range(rank)) if said is None else list(said)


def _axis(default: int) -> Axes:
    return lambda _stack, node, _rank: [attributes(node).get("axis", default)]


def _from_axis(_stack: Stack, node: onnx.NodeProto, rank: int) -> Iterable[int]:
    return range(attributes(node).get("axis", -1) % rank, rank)


def _sliced(stack: Stack, node: onnx.NodeProto, _rank: int) -> Iterable[int]:
    if len(node.input) > 3 and node.input[3]:
        return list(stack.constant(node.input[3]))
    return range(len(stack.constant(node.input[1])))


def _padded(stack: Stack, node: onnx.NodeProto, rank: int) -> Iterable[int]:
    pads = stack.constant(node.input[1]).tolist()
    if len(node.input) > 3 and node.input[3]:
        return list(stack.constant(node.input[3]))
    return [axis for axis in range(rank) if pads[axis] or pads[axis + rank]]


def _tiled(stack: Stack, node: onnx.NodeProto, _rank: int) -> Iterable[int]:
    return list(np.flatnonzero(stack.constant(node.input[1]) != 1))


RULES: dict[str, Rule] = {
    **dict.fromkeys(ALIKE, alike),
    **dict.fromkeys(FIRST, first),
    **dict.fromkeys(REDUCTIONS, aside(_axes)),
    "ArgMax": aside(_axis(0)),
    "ArgMin": aside(_axis(0)),
    "Concat": together,
    "CumSum": aside(lambda stack, node, _rank: [int(stack.constant(node.input[1]))]),
    "Einsum": einsum,
    "Expand": expand,
    "Flatten": reshape,
    "Gather": gather,
    "GatherElements": together,
    "GatherND": gather_nd,
    "Gemm": gemm,
    "GridSample": both_first,
    "LayerNormalization": aside(_from_axis),
    "LogSoftmax": aside(_axis(-1)),
    "MatMul": matmul,
    "Pad": aside(_padded),
    "Reshape": reshape,
    "Resize": resize,
    "ScatterElements": together,
    "ScatterND": scatter_nd,
    "Slice": aside(_sliced),
    "Softmax": aside(_axis(-1)),
    "Split": aside(_axis(0)),
    "Squeeze": squeeze,
    "Tile": aside(_tiled),
    "TopK": aside(_axis(-1)),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
