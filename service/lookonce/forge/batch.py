"""Freeing a batch that the exporter fixed: wherever the graph wrote the number down, it is computed instead."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

BATCH = "batch"


def free_batch(model: onnx.ModelProto, picture: str) -> None:
    """Makes the first side of every input and output symbolic, and every reshape that depends on the picture follow."""
    shapes = _known_shapes(model)
    constants = _constants(model)
    fixed = next(shapes[value.name][0] for value in model.graph.input if value.name == picture)
    for node in _that_depend_on(model.graph, picture):
        if node.op_type == "Reshape" and node.input[1] in constants:
            _free_reshape(model.graph, node, constants[node.input[1]], shapes.get(node.output[0], ()), fixed)
    for value in (*model.graph.input, *model.graph.output):
        sides = value.type.tensor_type.shape.dim
        if sides:
            sides[0].dim_param = BATCH
    del model.graph.value_info[:]


def _known_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim) for value in values}


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            held[node.output[0]] = node.attribute[0].t
    return {name: numpy_helper.to_array(tensor) for name, tensor in held.items() if tensor.data_type == tensor.INT64}


def _that_depend_on(graph: onnx.GraphProto, tensor: str) -> Iterator[onnx.NodeProto]:
    reached = {tensor}
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            yield node


def _free_reshape(
    graph: onnx.GraphProto, node: onnx.NodeProto, shape: np.ndarray, result: tuple[int, ...], fixed: int
) -> None:
    if not len(shape) or shape[0] != fixed:
        return
    rest = result[1:] if len(result) == len(shape) and all(result[1:]) else tuple(shape[1:])
    first = 0 if -1 in rest else -1
    name = f"{node.output[0]}/free_shape"
    graph.initializer.append(numpy_helper.from_array(np.array([first, *rest], np.int64), name))
    node.input[1] = name
