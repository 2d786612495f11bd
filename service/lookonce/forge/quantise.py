"""INT8 written into the graph itself, as the pairs of QuantizeLinear and DequantizeLinear that TensorRT reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference, version_converter

from lookonce.errors import ModelRefused
from lookonce.forge.calibration import limits_of
from lookonce.forge.flow import Flow, Index, opset_of
from lookonce.forge.gallery import Gallery, in_folder
from lookonce.forge.half import float_tensors, used_nodes
from lookonce.forge.progress import Report, unheard
from lookonce.forge.running import Images
from lookonce.vision.letterbox import Geometry

ENOUGH_PICTURES, MOST_PICTURES = 100, 500
PER_CHANNEL_OPSET = 13
LEVELS = 127
"""Of a symmetric INT8 value, on either side of zero."""
SMALLEST_SCALE = 1e-12


def quantise(model: ModelProto, calibration: Path, geometry: Geometry, report: Report = unheard) -> ModelProto:
    """The served FP32 graph in INT8, calibrated on a folder's pictures; front, heads and box arithmetic stay FP32."""
    pictures = in_folder(calibration, geometry, MOST_PICTURES, report)
    _check_enough(pictures, calibration)
    return quantised(model, pictures, report)


def quantised(model: ModelProto, pictures: Sequence[Images], report: Report = unheard) -> ModelProto:
    """The same on pictures at hand, uint8 [H,W,3]."""
    ready = _with_per_channel(model)
    typed = shape_inference.infer_shapes(ready)
    flow = Flow(typed.graph)
    chosen = quantisable(flow, float_tensors(typed))
    if not chosen:
        raise ModelRefused("the graph holds no convolution that INT8 could speed up; import it with --precision fp16.")
    tensors = sorted({flow.nodes[index].input[0] for index in chosen})
    return _Rewriting(flow, chosen, limits_of(ready, tensors, pictures, report)).done(ready)


def quantisable(flow: Flow, floats: frozenset[str]) -> frozenset[Index]:
    """The heavy nodes but for the last ones, which place the boxes."""
    inner = flow.heavy - flow.last_heavy()
    return frozenset(
        index for index in inner if _takes_features(flow, index, floats) and _axis(flow, index) is not None
    )


def _takes_features(flow: Flow, index: Index, floats: frozenset[str]) -> bool:
    source, weight = flow.nodes[index].input[:2]
    return source in flow.featured and source in floats and weight in flow.constants


def _axis(flow: Flow, index: Index) -> int | None:
    """Where the weight's output channels lie; None where INT8 is not worth it."""
    node = flow.nodes[index]
    if node.op_type == "Conv":
        return 0
    is_matrix = len(flow.constants[node.input[1]].dims) == 2
    if node.op_type == "MatMul" and is_matrix:
        return 1
    turned = {attribute.name: attribute.i for attribute in node.attribute if attribute.name in {"transA", "transB"}}
    if node.op_type != "Gemm" or turned.get("transA"):
        return None
    return 0 if turned.get("transB") else 1


def _check_enough(pictures: Gallery, folder: Path) -> None:
    if len(pictures) >= ENOUGH_PICTURES:
        return
    remarks = " ".join(("", *pictures.remarks))
    raise ModelRefused(
        f"{folder} holds {len(pictures)} pictures that can be read and INT8 calibration needs {ENOUGH_PICTURES} "
        f"or more: add pictures of what the model will see, or import it with --precision fp16.{remarks}"
    )


def _with_per_channel(model: ModelProto) -> ModelProto:
    """The model in an operator set that knows a scale per channel."""
    opset = opset_of(model)
    if opset >= PER_CHANNEL_OPSET:
        return model
    try:
        return version_converter.convert_version(model, PER_CHANNEL_OPSET)
    except Exception as error:
        raise ModelRefused(
            f"INT8 needs opset {PER_CHANNEL_OPSET} and this model has opset {opset}; export it again with a newer one."
        ) from error


@dataclass(slots=True)
class _Rewriting:
    """One graph being rewritten: the chosen nodes take values that went through INT8."""

    flow: Flow
    chosen: frozenset[Index]
    limits: Mapping[str, float]
    nodes: list[NodeProto] = field(default_factory=list)
    stored: dict[str, TensorProto] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def done(self, model: ModelProto) -> ModelProto:
        for index, node in enumerate(self.flow.nodes):
            added = NodeProto()
            added.CopyFrom(node)
            if index in self.chosen:
                added.input[0] = self._activation(node.input[0])
                added.input[1] = self._weight(node.input[1], _axis(self.flow, index) or 0)
            self.nodes.append(added)
        rewritten = ModelProto()
        rewritten.CopyFrom(model)
        graph = rewritten.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(used_nodes(self.nodes, {output.name for output in graph.output}))
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(tensor for tensor in self.flow.graph.initializer if tensor.name in used)
        graph.initializer.extend(self.stored.values())
        return rewritten

    def _activation(self, name: str) -> str:
        """One pair for all that take this tensor."""
        target = f"{name}/int8"
        if target not in self.made:
            self.made.add(target)
            scale = np.array(max(self.limits[name] / LEVELS, SMALLEST_SCALE), np.float32)
            pair = self._store(f"{target}/scale", scale), self._store(f"{target}/zero", np.zeros((), np.int8))
            self._node("QuantizeLinear", (name, *pair), f"{target}/stored")
            self._node("DequantizeLinear", (f"{target}/stored", *pair), target)
        return target

    def _weight(self, name: str, axis: int) -> str:
        """The weights themselves as INT8, symmetric, one scale for each output channel."""
        target = f"{self.flow.constants[name].name or name}/int8/{axis}"
        if target not in self.made:
            self.made.add(target)
            weight = self.flow.constant(name).astype(np.float32)
            others = tuple(other for other in range(weight.ndim) if other != axis)
            scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True) / LEVELS, SMALLEST_SCALE).astype(
                np.float32
            )
            values = np.clip(np.rint(weight / scale), -LEVELS, LEVELS).astype(np.int8)
            flat = scale.ravel()
            inputs = (
                self._store(f"{target}/stored", values),
                self._store(f"{target}/scale", flat),
                self._store(f"{target}/zero", np.zeros(len(flat), np.int8)),
            )
            self._node("DequantizeLinear", inputs, target, axis=axis)
        return target

    def _store(self, name: str, values: NDArray[np.generic]) -> str:
        self.stored[name] = numpy_helper.from_array(values, name)
        return name

    def _node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:  # noqa: ANN401
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
