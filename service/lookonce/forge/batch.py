"""Freeing a batch that the exporter fixed: wherever the graph wrote the number down, it is computed instead."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lookonce.forge.pen import Pen
from lookonce.forge.running import Execution
from lookonce.forge.stack import Shape, Stack, Stuck
from lookonce.forge.stack_rules import RULES, attributes

BATCH = "batch"


def free_batch(model: onnx.ModelProto, picture: str) -> None:
    """Makes the first side of every input and output symbolic, and every node that depends on the picture follow."""
    shapes = _known_shapes(model)
    fixed = shapes[picture][0]
    if fixed != 1 or not _is_stacked(model, shapes):
        _free_reshapes(model, shapes, fixed)
    for value in (*model.graph.input, *model.graph.output):
        sides = value.type.tensor_type.shape.dim
        if sides:
            sides[0].dim_param = BATCH
    del model.graph.value_info[:]


def _is_stacked(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> bool:
    """Whether the graph, made for one picture, works on a stack of them now; else it is as it was."""
    try:
        _stack(model, _every_shape(model, shapes))
    except Stuck:
        return False
    return True


def _stack(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    graph, pen = model.graph, Pen("lookonce/batch", _opset(model))
    held = _constants(model)
    stack = Stack(pen, shapes, [value.name for value in _inputs(graph)], held)
    for node in graph.node:
        if not any(map(stack.is_stacked, node.input)):
            pen.nodes.append(node)
        elif node.op_type == "Shape":
            _write_down(stack, node)
        else:
            _follow(stack, node)
    for value in graph.output:
        _bring_forward(stack, value.name)
    nodes = list(pen.nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(pen.constants)


def _bring_forward(stack: Stack, output: str) -> None:
    """An output holds its pictures in its first side, under the name it had."""
    if not stack.is_stacked(output) or stack.shape(output)[:1] != (1,):
        raise Stuck(f"{output} has no side for the pictures")
    names = {stack.seated(output, 0): output, output: f"{output}/aside"}
    if len(names) == 1:
        return
    for node in stack.pen.nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _follow(stack: Stack, node: onnx.NodeProto) -> None:
    if node.op_type not in RULES or any(attribute.HasField("g") for attribute in node.attribute):
        raise Stuck(f"{node.op_type} is not known to work on a stack")
    own = onnx.NodeProto()
    own.CopyFrom(node)
    RULES[node.op_type](stack, own)
    stack.pen.nodes.append(own)


def _write_down(stack: Stack, node: onnx.NodeProto) -> None:
    """The shape that one picture has, for whatever is reckoned from it is reckoned for one picture."""
    said = attributes(node)
    shape = stack.shape(node.input[0])[said.get("start", 0) : said.get("end")]
    value = np.array(shape, np.int64)
    stack.constants[node.output[0]] = value
    stack.pen.constants.append(numpy_helper.from_array(value, node.output[0]))


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    initial = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initial]


def _known_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """As inference tells them; 0 for a side that it does not know."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    return shapes


def _every_shape(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """What inference leaves open, a run on a blank picture tells."""
    if any(0 in shapes.get(value.name, (0,)) for value in _inputs(model.graph)):
        raise Stuck("an input does not say its shape")
    known = {name: shape for name, shape in shapes.items() if 0 not in shape}
    made = [name for node in model.graph.node for name in node.output if name]
    unknown = [name for name in made if name not in known]
    if not unknown:
        return known
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    blank = {value.name: np.zeros(shapes[value.name], _kind(value)) for value in _inputs(model.graph)}
    return known | {name: output.shape for name, output in zip(unknown, Execution(probe)(blank), strict=True)}


def _kind(value: onnx.ValueInfoProto) -> np.dtype:
    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Whole numbers: the shapes, axes and pads that a graph writes down."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            held[node.output[0]] = node.attribute[0].t
    return {name: numpy_helper.to_array(tensor) for name, tensor in held.items() if tensor.data_type == tensor.INT64}


def _free_reshapes(model: onnx.ModelProto, shapes: Mapping[str, Shape], fixed: int) -> None:
    """Where little is known: reshapes whose first side is the batch fit that side to what comes."""
    constants = _constants(model)
    for node in _that_depend_on(model.graph, {value.name for value in _inputs(model.graph)}):
        target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is not None and len(target) and target[0] == fixed:
            _free_reshape(model.graph, node, target, shapes.get(node.output[0], ()))


def _that_depend_on(graph: onnx.GraphProto, tensors: set[str]) -> Iterator[onnx.NodeProto]:
    reached = set(tensors)
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            yield node


def _free_reshape(graph: onnx.GraphProto, node: onnx.NodeProto, target: np.ndarray, result: Shape) -> None:
    rest = result[1:] if len(result) == len(target) and all(result[1:]) else tuple(target[1:])
    first = 0 if -1 in rest else -1
    name = f"{node.output[0]}/free_shape"
    graph.initializer.append(numpy_helper.from_array(np.array([first, *rest], np.int64), name))
    node.input[1] = name
