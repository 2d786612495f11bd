"""What a graph costs: arithmetic for one picture, and the weights it carries."""

from collections.abc import Callable, Mapping
from math import prod

import onnx

Sides = tuple[int, ...]
Shapes = Mapping[str, Sides]


def gflops(model: onnx.ModelProto) -> float:
    """Multiplications and additions of one picture's convolutions and matrix products, in 10⁹."""
    shapes = _shapes(model)
    return sum(_COSTS[node.op_type](node, shapes) for node in model.graph.node if node.op_type in _COSTS) / 1e9


def count_parameters(model: onnx.ModelProto) -> int:
    return sum(prod(tensor.dims) for tensor in model.graph.initializer)


def _shapes(model: onnx.ModelProto) -> dict[str, Sides]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        known[value.name] = tuple(side.dim_value or 1 for side in value.type.tensor_type.shape.dim)
    return known


def _convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    kernel = shapes.get(node.input[1], ())
    return 2 * prod(shapes.get(node.output[0], (0,))) * prod(kernel[1:])


def _deconvolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    kernel = shapes.get(node.input[1], ())
    return 2 * prod(shapes.get(node.input[0], (0,))) * prod(kernel[1:])


def _product(node: onnx.NodeProto, shapes: Shapes) -> int:
    inner = shapes.get(node.input[0], (0,))[-1]
    return 2 * prod(shapes.get(node.output[0], (0,))) * inner


_COSTS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "Gemm": _product,
    "MatMul": _product,
}
