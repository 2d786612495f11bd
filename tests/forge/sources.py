"""Small ONNX files with every layout's outputs, drawn by hand: a few random weights, 64x64 unless said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, FEATURES, STRIDES = 64, 4, 64, (8, 16, 32)
LABELS = tuple("abcd")
Dim = int | str


@dataclass
class Sketch:
    """A graph that is being drawn. `batch` is a number where the exporter fixed it."""

    batch: Dim = 1
    width: int = SIDE
    height: int = SIDE
    classes: int = CLASSES
    strides: Sequence[int] = STRIDES
    opset: int = 17
    half: bool = False
    channels_last: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.features = self._features()

    @property
    def points(self) -> int:
        return sum(rows * columns for rows, columns in self.grids)

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Rows and columns of each stride's grid, finest first."""
        return [(self.height // stride, self.width // stride) for stride in self.strides]

    @property
    def kind(self) -> int:
        return TensorProto.FLOAT16 if self.half else TensorProto.FLOAT

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def floats(self, value: object, name: str = "") -> str:
        return self.const(np.asarray(value, np.float16 if self.half else np.float32), name)

    def const(self, value: object, name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def made(self, *shape: int, spread: float = 1.0, weight: str = "") -> str:
        """A tensor [N,*shape] that depends on the picture, about normal with that spread."""
        size = int(np.prod(shape))
        scale = spread * 2 / np.sqrt(FEATURES)
        matrix = self.floats(self.random.normal(0, scale, (FEATURES, size)), weight)
        first = self.batch if isinstance(self.batch, int) else -1
        return self.reshape(self.op("MatMul", self.features, matrix), first, *shape)

    def reshape(self, tensor: str, *shape: int) -> str:
        return self.op("Reshape", tensor, self.const(np.array(shape, np.int64)))

    def unit(self, *shape: int, spread: float = 1.5, weight: str = "") -> str:
        return self.op("Sigmoid", self.made(*shape, spread=spread, weight=weight))

    def centres(self, *shape: int, unit: bool = False) -> str:
        """cxcywh boxes [N,*shape,4], in pixels or in shares of the picture."""
        return self.op("Mul", self.unit(*shape, 4), self.floats([*self.size(unit), *(self.size(unit) / 2)]))

    def corners(self, *shape: int, unit: bool = False) -> str:
        """xyxy boxes [N,*shape,4]."""
        half = self.floats(self.size(unit) / 2)
        low = self.op("Mul", self.unit(*shape, 2), half)
        high = self.op("Add", low, self.op("Mul", self.unit(*shape, 2), half))
        return self.op("Concat", low, high, axis=-1)

    def size(self, unit: bool) -> np.ndarray:
        return np.ones(2) if unit else np.array([self.width, self.height])

    def give(self, tensor: str, name: str, *shape: Dim, kind: int | None = None) -> None:
        self.op("Identity", tensor, out=name)
        self.outputs.append(helper.make_tensor_value_info(name, kind or self.kind, [self.batch, *shape]))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "source", self.inputs, self.outputs, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        ir_version = helper.find_min_ir_version_for(opsets)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="sketch")
        helper.set_model_props(model, dict(self.metadata))
        return model

    def _features(self) -> str:
        size = self.height, self.width
        shape = [self.batch, *size, 3] if self.channels_last else [self.batch, 3, *size]
        self.inputs.append(helper.make_tensor_value_info("images", self.kind, shape))
        picture = self.op("Transpose", "images", perm=[0, 3, 1, 2]) if self.channels_last else "images"
        steps = [self.height // 4, self.width // 4]
        kernel = self.floats(self.random.normal(0, 12.8 / np.prod(steps), (FEATURES // 16, 3, *steps)))
        return self.op("Flatten", self.op("Tanh", self.op("Conv", picture, kernel, strides=steps)), axis=1)


Draw = Callable[[Sketch], None]
QUERIES = 50


def _join(sketch: Sketch, *parts: str) -> str:
    return sketch.op("Concat", *parts, axis=-1)


def _columns(sketch: Sketch, name: str = "output0") -> None:
    rows = _join(sketch, sketch.centres(sketch.points), sketch.unit(sketch.points, sketch.classes))
    sketch.give(sketch.op("Transpose", rows, perm=[0, 2, 1]), name, 4 + sketch.classes, sketch.points)


def _dual(sketch: Sketch) -> None:
    _columns(sketch)
    _columns(sketch, "1234")


def _rows(box: Callable[[Sketch, int], str], per_point: int = 1, weight: str = "", one: bool = False) -> Draw:
    def draw(sketch: Sketch) -> None:
        anchors = per_point * sketch.points
        objectness = sketch.unit(anchors, 1, weight=weight)
        if one:
            objectness = sketch.op("Add", sketch.op("Mul", objectness, sketch.floats(0)), sketch.floats(1))
        rows = _join(sketch, box(sketch, anchors), objectness, sketch.unit(anchors, sketch.classes))
        sketch.give(rows, "output0", anchors, 5 + sketch.classes)

    return draw


def _offsets(sketch: Sketch, anchors: int) -> str:
    return sketch.made(anchors, 4)


def _decoded_by_exp(sketch: Sketch, anchors: int) -> str:
    size = sketch.op("Mul", sketch.op("Exp", sketch.made(anchors, 2)), sketch.floats(8))
    return _join(sketch, sketch.op("Mul", sketch.unit(anchors, 2), sketch.floats(sketch.size(unit=False))), size)


def _grids(sketch: Sketch) -> None:
    for place, grid in enumerate(sketch.grids):
        shape = 3, *grid, 5 + sketch.classes
        sketch.give(sketch.made(*shape), f"out{place}", *shape)


def _darknet(*order: int) -> Draw:
    def draw(sketch: Sketch) -> None:
        for place in order:
            shape = 3 * (5 + sketch.classes), *sketch.grids[place]
            sketch.give(sketch.made(*shape), f"grid{place}", *shape)

    return draw


def _pytorch_v4(sketch: Sketch) -> None:
    anchors = 3 * sketch.points
    sketch.give(sketch.corners(anchors, 1, unit=True), "boxes", anchors, 1, 4)
    sketch.give(sketch.unit(anchors, sketch.classes), "confs", anchors, sketch.classes)


def _cell(sketch: Sketch) -> None:
    shape = 7, 7, 2 * 5 + sketch.classes
    sketch.give(sketch.unit(*shape), "grid", *shape)


def _finished(box: Callable[[Sketch], str]) -> Draw:
    def draw(sketch: Sketch) -> None:
        label = sketch.op("Cast", _classes(sketch, QUERIES, 1), to=sketch.kind)
        sketch.give(_join(sketch, box(sketch), sketch.unit(QUERIES, 1), label), "output0", QUERIES, 6)

    return draw


def _classes(sketch: Sketch, *shape: int) -> str:
    spread = sketch.op("Mul", sketch.unit(*shape), sketch.floats(sketch.classes - 0.01))
    return sketch.op("Cast", spread, to=TensorProto.INT64)


def _queries(sketch: Sketch) -> None:
    rows = _join(sketch, sketch.centres(QUERIES, unit=True), sketch.unit(QUERIES, sketch.classes))
    sketch.give(rows, "output0", QUERIES, 4 + sketch.classes)


def _rtdetr(sketch: Sketch) -> None:
    sketch.inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [sketch.batch, 2]))
    sizes = sketch.op("Cast", "orig_target_sizes", to=sketch.kind)
    four = sketch.reshape(_join(sketch, sizes, sizes), -1, 1, 4)
    sketch.give(_classes(sketch, QUERIES), "labels", QUERIES, kind=TensorProto.INT64)
    sketch.give(sketch.op("Mul", sketch.corners(QUERIES, unit=True), four), "boxes", QUERIES, 4)
    sketch.give(sketch.unit(QUERIES), "scores", QUERIES)


def _transformers(sketch: Sketch) -> None:
    sampled = sketch.op("GridSample", sketch.made(1, 8, 8), sketch.op("Tanh", sketch.made(8, 8, 2)))
    mean = sketch.op("MatMul", sketch.op("Flatten", sampled), sketch.floats(np.full((64, 1), 1 / 64)))
    bias = sketch.floats(np.zeros(1), "model.enc_score_head.bias")
    mean = sketch.op("Add", sketch.reshape(mean, -1, 1, 1), bias)
    logits = sketch.op("Add", sketch.made(QUERIES, sketch.classes), mean)
    sketch.give(logits, "logits", QUERIES, sketch.classes)
    sketch.give(sketch.centres(QUERIES, unit=True), "pred_boxes", QUERIES, 4)


def _nas(sketch: Sketch) -> None:
    count = sketch.op("Cast", sketch.op("Mul", sketch.unit(1), sketch.floats(QUERIES)), to=TensorProto.INT64)
    sketch.give(count, "num_predictions", 1, kind=TensorProto.INT64)
    sketch.give(sketch.corners(QUERIES), "pred_boxes", QUERIES, 4)
    sketch.give(sketch.unit(QUERIES), "pred_scores", QUERIES)
    sketch.give(_classes(sketch, QUERIES), "pred_classes", QUERIES, kind=TensorProto.INT64)


def _plugin(box_coding: int) -> Draw:
    def draw(sketch: Sketch) -> None:
        boxes = sketch.centres(sketch.points) if box_coding else sketch.corners(sketch.points)
        scores = sketch.unit(sketch.points, sketch.classes)
        outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
        node = helper.make_node("EfficientNMS_TRT", [boxes, scores], outputs, domain="TRT", box_coding=box_coding)
        sketch.nodes.append(node)
        sketch.outputs += [helper.make_tensor_value_info(name, sketch.kind, None) for name in outputs]

    return draw


DRAWN: dict[str, Draw] = {
    "yolov8": _columns,
    "yolov9-dual": _dual,
    "yolov5": _rows(Sketch.centres, per_point=3),
    "yolov6": _rows(Sketch.centres, one=True),
    "yolox": _rows(_offsets, weight="head.obj_preds.0.weight"),
    "yolox-decoded": _rows(_decoded_by_exp, weight="head.obj_preds.0.weight"),
    "yolov7-raw": _grids,
    "yolov5-raw": _grids,
    "darknet-v3": _darknet(2, 1, 0),
    "darknet-v4": _darknet(0, 1, 2),
    "darknet-v3-tiny": _darknet(2, 1),
    "darknet-v4-tiny": _darknet(2, 1),
    "yolov4-pytorch": _pytorch_v4,
    "yolov1": _cell,
    "yolov1-roots": _cell,
    "end2end": _finished(lambda sketch: sketch.corners(QUERIES)),
    "rtdetr-ultralytics": _finished(lambda sketch: sketch.centres(QUERIES, unit=True)),
    "rtdetr-ultralytics-dense": _queries,
    "rtdetr": _rtdetr,
    "rtdetr-transformers": _transformers,
    "yolo-nas": _nas,
    "efficientnms-corners": _plugin(0),
    "efficientnms-centres": _plugin(1),
}

SAYS: dict[str, dict[str, str]] = {
    "end2end": {"end2end": "True"},
    "rtdetr-ultralytics": {"description": "Ultralytics RT-DETR-l model"},
    "rtdetr-ultralytics-dense": {"description": "Ultralytics RT-DETR-l model"},
}


def draw(layout: str, **how: Any) -> onnx.ModelProto:  # noqa: ANN401
    """A source of that layout, its class names in the metadata."""
    names = {"names": str(dict(enumerate(LABELS[: how.get("classes")])))}
    sketch = Sketch(metadata=names | SAYS.get(layout, {}) | how.pop("metadata", {}), **how)
    DRAWN[layout](sketch)
    return sketch.model()


def write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def noise(count: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """Pictures UINT8 [N,H,W,3], blotched so that features differ."""
    small = np.random.default_rng(width + height).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return small.repeat(height // 8, axis=1).repeat(width // 8, axis=2)
