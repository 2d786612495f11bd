"""Small ONNX files with every layout's outputs, drawn by hand: a few random weights on a 64x64 picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, FEATURES = 64, 4, 64
POINTS = 8 * 8 + 4 * 4 + 2 * 2
LABELS = tuple("abcd")
Dim = int | str


@dataclass
class Sketch:
    """A graph that is being drawn. `batch` is a number where the exporter fixed it."""

    batch: Dim = 1
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
    def kind(self) -> int:
        return TensorProto.FLOAT16 if self.half else TensorProto.FLOAT

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def floats(self, value: Any, name: str = "") -> str:
        return self.const(np.asarray(value, np.float16 if self.half else np.float32), name)

    def const(self, value: Any, name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def made(self, *shape: int, spread: float = 1.0, weight: str = "") -> str:
        """A tensor [N,*shape] that depends on the picture, about normal with that spread."""
        size = int(np.prod(shape))
        scale = spread * 2 / np.sqrt(FEATURES)
        matrix = self.floats(self.random.normal(0, scale, (FEATURES, size)), weight)
        first = self.batch if isinstance(self.batch, int) else -1
        return self.op("Reshape", self.op("MatMul", self.features, matrix), self.const(np.array([first, *shape], np.int64)))

    def unit(self, *shape: int, spread: float = 1.5, weight: str = "") -> str:
        return self.op("Sigmoid", self.made(*shape, spread=spread, weight=weight))

    def centres(self, *shape: int, scale: float = SIDE) -> str:
        """cxcywh boxes [N,*shape,4]."""
        return self.op("Mul", self.unit(*shape, 4), self.floats([scale, scale, scale / 2, scale / 2]))

    def corners(self, *shape: int, scale: float = SIDE) -> str:
        low = self.op("Mul", self.unit(*shape, 2), self.floats(scale / 2))
        high = self.op("Add", low, self.op("Mul", self.unit(*shape, 2), self.floats(scale / 2)))
        return self.op("Concat", low, high, axis=-1)

    def give(self, tensor: str, name: str, *shape: Dim, kind: int | None = None) -> None:
        self.op("Identity", tensor, out=name)
        self.outputs.append(helper.make_tensor_value_info(name, kind or self.kind, [self.batch, *shape]))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "source", self.inputs, self.outputs, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="sketch")
        helper.set_model_props(model, dict(self.metadata))
        return model

    def _features(self) -> str:
        shape = [self.batch, SIDE, SIDE, 3] if self.channels_last else [self.batch, 3, SIDE, SIDE]
        self.inputs.append(helper.make_tensor_value_info("images", self.kind, shape))
        picture = self.op("Transpose", "images", perm=[0, 3, 1, 2]) if self.channels_last else "images"
        kernel = self.floats(self.random.normal(0, 0.05, (FEATURES // 16, 3, 16, 16)))
        return self.op("Flatten", self.op("Tanh", self.op("Conv", picture, kernel, strides=[16, 16])), axis=1)


def _join(sketch: Sketch, *parts: str) -> str:
    return sketch.op("Concat", *parts, axis=-1)


def _columns(sketch: Sketch, name: str = "output0") -> None:
    rows = _join(sketch, sketch.centres(POINTS), sketch.unit(POINTS, CLASSES))
    sketch.give(sketch.op("Transpose", rows, perm=[0, 2, 1]), name, 4 + CLASSES, POINTS)


def _dual(sketch: Sketch) -> None:
    _columns(sketch)
    _columns(sketch, "1234")


def _rows(anchors: int, box: Callable[[Sketch], str], weight: str = "", one: bool = False) -> Callable[[Sketch], None]:
    def draw(sketch: Sketch) -> None:
        objectness = sketch.unit(anchors, 1, weight=weight)
        if one:
            objectness = sketch.op("Add", sketch.op("Mul", objectness, sketch.floats(0)), sketch.floats(1))
        sketch.give(_join(sketch, box(sketch), objectness, sketch.unit(anchors, CLASSES)), "output0", anchors, 5 + CLASSES)

    return draw


def _decoded_by_exp(sketch: Sketch) -> str:
    size = sketch.op("Mul", sketch.op("Exp", sketch.made(POINTS, 2)), sketch.floats(8))
    return _join(sketch, sketch.op("Mul", sketch.unit(POINTS, 2), sketch.floats(SIDE)), size)


def _grids(sketch: Sketch) -> None:
    for place, side in enumerate((8, 4, 2)):
        sketch.give(sketch.made(3, side, side, 5 + CLASSES), f"out{place}", 3, side, side, 5 + CLASSES)


def _darknet(*sides: int) -> Callable[[Sketch], None]:
    def draw(sketch: Sketch) -> None:
        for side in sides:
            sketch.give(sketch.made(3 * (5 + CLASSES), side, side), f"grid{side}", 3 * (5 + CLASSES), side, side)

    return draw


def _pytorch_v4(sketch: Sketch) -> None:
    sketch.give(sketch.corners(3 * POINTS, 1, scale=1), "boxes", 3 * POINTS, 1, 4)
    sketch.give(sketch.unit(3 * POINTS, CLASSES), "confs", 3 * POINTS, CLASSES)


def _cell(sketch: Sketch) -> None:
    sketch.give(sketch.unit(7, 7, 2 * 5 + CLASSES), "grid", 7, 7, 2 * 5 + CLASSES)


def _finished(box: Callable[[Sketch], str]) -> Callable[[Sketch], None]:
    def draw(sketch: Sketch) -> None:
        score, label = sketch.unit(50, 1), _classes(sketch, 50, 1)
        label = sketch.op("Cast", label, to=sketch.kind)
        sketch.give(_join(sketch, box(sketch), score, label), "output0", 50, 6)

    return draw


def _classes(sketch: Sketch, *shape: int) -> str:
    return sketch.op("Cast", sketch.op("Mul", sketch.unit(*shape), sketch.floats(CLASSES - 0.01)), to=TensorProto.INT64)


def _queries(sketch: Sketch) -> None:
    sketch.give(_join(sketch, sketch.centres(50, scale=1), sketch.unit(50, CLASSES)), "output0", 50, 4 + CLASSES)


def _rtdetr(sketch: Sketch) -> None:
    sketch.inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [sketch.batch, 2]))
    sizes = sketch.op("Cast", "orig_target_sizes", to=sketch.kind)
    four = sketch.op("Unsqueeze", _join(sketch, sizes, sizes), sketch.const(np.array([1])))
    sketch.give(_classes(sketch, 50), "labels", 50, kind=TensorProto.INT64)
    sketch.give(sketch.op("Mul", sketch.corners(50, scale=1), four), "boxes", 50, 4)
    sketch.give(sketch.unit(50), "scores", 50)


def _transformers(sketch: Sketch) -> None:
    plane, grid = sketch.made(1, 8, 8), sketch.op("Tanh", sketch.made(8, 8, 2))
    sampled = sketch.op("ReduceMean", sketch.op("GridSample", plane, grid), axes=[1, 2, 3], keepdims=1)
    logits = sketch.op("Add", sketch.made(50, CLASSES), sketch.op("Squeeze", sampled, sketch.const(np.array([3]))))
    sketch.give(logits, "logits", 50, CLASSES)
    sketch.give(sketch.centres(50, scale=1), "pred_boxes", 50, 4)


def _nas(sketch: Sketch) -> None:
    count = sketch.op("Cast", sketch.op("Mul", sketch.unit(1), sketch.floats(50)), to=TensorProto.INT64)
    sketch.give(count, "num_predictions", 1, kind=TensorProto.INT64)
    sketch.give(sketch.corners(50), "pred_boxes", 50, 4)
    sketch.give(sketch.unit(50), "pred_scores", 50)
    sketch.give(_classes(sketch, 50), "pred_classes", 50, kind=TensorProto.INT64)


def _plugin(box_coding: int) -> Callable[[Sketch], None]:
    def draw(sketch: Sketch) -> None:
        boxes = sketch.centres(POINTS) if box_coding else sketch.corners(POINTS)
        scores = sketch.unit(POINTS, CLASSES)
        outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
        node = helper.make_node("EfficientNMS_TRT", [boxes, scores], outputs, domain="TRT", box_coding=box_coding)
        sketch.nodes.append(node)
        sketch.outputs += [helper.make_tensor_value_info(name, sketch.kind, None) for name in outputs]

    return draw


DRAWN: dict[str, Callable[[Sketch], None]] = {
    "yolov8": _columns,
    "yolov9-dual": _dual,
    "yolov5": _rows(3 * POINTS, lambda sketch: sketch.centres(3 * POINTS)),
    "yolov6": _rows(POINTS, lambda sketch: sketch.centres(POINTS), one=True),
    "yolox": _rows(POINTS, lambda sketch: sketch.made(POINTS, 4), weight="head.obj_preds.0.weight"),
    "yolox-decoded": _rows(POINTS, _decoded_by_exp, weight="head.obj_preds.0.weight"),
    "yolov7-raw": _grids,
    "yolov5-raw": _grids,
    "darknet-v3": _darknet(2, 4, 8),
    "darknet-v4": _darknet(8, 4, 2),
    "darknet-v3-tiny": _darknet(2, 4),
    "darknet-v4-tiny": _darknet(2, 4),
    "yolov4-pytorch": _pytorch_v4,
    "yolov1": _cell,
    "yolov1-roots": _cell,
    "end2end": _finished(lambda sketch: sketch.corners(50)),
    "rtdetr-ultralytics": _finished(lambda sketch: sketch.centres(50, scale=1)),
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


def draw(layout: str, **how: Any) -> onnx.ModelProto:
    """A source of that layout, its class names in the metadata."""
    metadata = {"names": str(dict(enumerate(LABELS)))} | SAYS.get(layout, {})
    sketch = Sketch(metadata=metadata | how.pop("metadata", {}), **how)
    DRAWN[layout](sketch)
    return sketch.model()


def write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Pictures UINT8 [N,64,64,3], blotched so that features differ."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def names(values: Sequence[Any]) -> list[str]:
    return [str(value) for value in values]
