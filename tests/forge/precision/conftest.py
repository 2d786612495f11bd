"""Small served graphs, drawn node by node: each has the head of one family of detectors, with its own weights."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lookonce.forge.pictures import draw_picture

SIDE, CLASSES, BINS = 640, 3, 8
Floats = NDArray[np.float32]


@dataclass
class Sketch:
    """A graph on our contract, in the making."""

    seed: int = 0
    opset: int = 17
    nodes: list[NodeProto] = field(default_factory=list)
    stored: list[TensorProto] = field(default_factory=list)
    prefix: str = "net/"

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"{self.prefix}{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def store(self, values: object, kind: type = np.float32) -> str:
        name = f"{self.prefix}stored_{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def ints(self, *values: int) -> str:
        return self.store(values, np.int64)

    def front(self, images: str = "images") -> str:
        self.prefix = "lookonce/front/"
        cast = self.add("Cast", images, to=TensorProto.FLOAT)
        moved = self.add("Transpose", cast, perm=[0, 3, 1, 2])
        scaled = self.add("Div", moved, self.store(255.0))
        self.prefix = "net/"
        return scaled

    def conv(self, source: str, wide: tuple[int, int], *, kernel: int = 3, stride: int = 1, active: bool = True) -> str:
        """Weights on a grid of 1/256, so that half precision holds them exactly."""
        taken, made = wide
        drawn = self.rng.normal(0, (taken * kernel * kernel) ** -0.5, (made, taken, kernel, kernel))
        weight, bias = np.round(drawn * 256) / 256, np.round(self.rng.normal(0, 0.2, made) * 256) / 256
        pads = [kernel // 2] * 4
        values = self.add("Conv", source, self.store(weight), self.store(bias), strides=[stride] * 2, pads=pads)
        return self.add("Mul", values, self.add("Sigmoid", values)) if active else values

    def backbone(self, source: str) -> str:
        """Features [N,16,80,80] with an upsampling neck, as every YOLO has."""
        fine = self.conv(self.conv(self.conv(source, (3, 8), stride=2), (8, 16), stride=2), (16, 16), stride=2)
        coarse = self.conv(fine, (16, 16), stride=2)
        wide = self.add("Resize", coarse, "", self.store([1, 1, 2, 2]), mode="nearest")
        joined = self.add("Concat", wide, fine, axis=1)
        pooled = self.add("MaxPool", joined, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
        return self.conv(pooled, (32, 16))

    def head(self, features: str, channels: int) -> str:
        """The last convolution, flat: [N,channels,6400]."""
        return self.add(
            "Reshape", self.conv(features, (16, channels), kernel=1, active=False), self.ints(0, channels, -1)
        )

    def linear(self, source: str, wide: tuple[int, int]) -> str:
        weight = np.round(self.rng.normal(0, wide[0] ** -0.5, wide) * 256) / 256
        return self.add("Add", self.add("MatMul", source, self.store(weight)), self.store(np.zeros(wide[1])))

    def sampled(self, features: str, unit: str, queries: str) -> str:
        """Features at each reference plus a learned offset, [N,100,16]."""
        centre = self.add("Slice", unit, self.ints(0), self.ints(2), self.ints(2))
        moved = self.add("Add", centre, self.add("Mul", self.linear(queries, (16, 2)), self.store(0.01)))
        places = self.add("Sub", self.add("Mul", moved, self.store(2.0)), self.store(1.0))
        taken = self.add("GridSample", features, self.add("Unsqueeze", places, self.ints(1)), mode="bilinear")
        return self.add("Transpose", self.add("Squeeze", taken, self.ints(2)), perm=[0, 2, 1])

    def top(self, scores: str, count: int) -> tuple[str, str]:
        """The `count` best of scores [N,A], and where they stand as [N,count,1]."""
        name = f"{self.prefix}TopK_{len(self.nodes)}"
        made = f"{name}.values", f"{name}.index"
        self.nodes.append(helper.make_node("TopK", [scores, self.ints(count)], list(made), name=name, axis=1))
        return made[0], self.add("Unsqueeze", made[1], self.ints(2))

    def served(self, xyxy: str, scores: str, count: int = 100) -> ModelProto:
        """Behind boxes [N,A,4] and scores [N,A,C]: the best class of each, and the best `count` of all."""
        self.prefix = "lookonce/decode/"
        best = self.add("ReduceMax", scores, axes=[2], keepdims=0)
        which = self.add("Cast", self.add("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
        values, index = self.top(best, count)
        score = self.add("Unsqueeze", values, self.ints(2))
        boxes = self.add("GatherElements", xyxy, self.add("Expand", index, self.ints(1, 1, 4)), axis=1)
        self.add("Concat", boxes, score, self.add("GatherElements", which, index, axis=1), axis=2)
        return self.model(count)

    def model(self, count: int) -> ModelProto:
        """What was drawn, the last node's output as `candidates` [N,count,6]."""
        self.nodes[-1].output[0] = "candidates"
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
        candidates = helper.make_tensor_value_info("candidates", TensorProto.FLOAT, ["N", count, 6])
        graph = helper.make_graph(self.nodes, "served", [images], [candidates], self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def grid(self) -> Floats:
        """Cell centres of the 80 x 80 map, [2,6400], in cells."""
        rows, columns = np.mgrid[0 : SIDE // 8, 0 : SIDE // 8]
        return np.stack([columns.ravel(), rows.ravel()]).astype(np.float32) + np.float32(0.5)


def dense(seed: int = 0, opset: int = 17) -> ModelProto:
    """As YOLOv8: a distribution over distances (DFL as a 1x1 convolution), anchors, strides."""
    sketch = Sketch(seed, opset)
    features = sketch.backbone(sketch.front())
    logits = sketch.add("Reshape", sketch.head(features, 4 * BINS), sketch.ints(0, 4, BINS, -1))
    shares = sketch.add("Softmax", sketch.add("Transpose", logits, perm=[0, 2, 1, 3]), axis=1)
    arange = np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1)
    distances = sketch.add("Reshape", sketch.add("Conv", shares, sketch.store(arange)), sketch.ints(0, 4, -1))
    near = sketch.add("Slice", distances, sketch.ints(0), sketch.ints(2), sketch.ints(1))
    far = sketch.add("Slice", distances, sketch.ints(2), sketch.ints(4), sketch.ints(1))
    anchors = sketch.store(sketch.grid()[None])
    corners = sketch.add("Concat", sketch.add("Sub", anchors, near), sketch.add("Add", anchors, far), axis=1)
    scores = sketch.add("Sigmoid", sketch.head(features, CLASSES))
    joined = sketch.add("Concat", sketch.add("Mul", corners, sketch.store(8.0)), scores, axis=1)
    rows = sketch.add("Transpose", joined, perm=[0, 2, 1])
    boxes = sketch.add("Slice", rows, sketch.ints(0), sketch.ints(4), sketch.ints(2))
    return sketch.served(boxes, sketch.add("Slice", rows, sketch.ints(4), sketch.ints(99), sketch.ints(2)))


def anchored(seed: int = 0, opset: int = 17) -> ModelProto:
    """As YOLOv5: (2s)^2 times an anchor, 2s plus a grid, objectness, and corners by a matrix."""
    sketch = Sketch(seed, opset)
    features = sketch.backbone(sketch.front())
    raw = sketch.add("Sigmoid", sketch.add("Transpose", sketch.head(features, 5 + CLASSES), perm=[0, 2, 1]))
    cut = [
        sketch.add("Slice", raw, sketch.ints(a), sketch.ints(b), sketch.ints(2)) for a, b in ((0, 2), (2, 4), (4, 5))
    ]
    doubled = [sketch.add("Mul", part, sketch.store(2.0)) for part in cut[:2]]
    placed = sketch.add("Add", doubled[0], sketch.store(sketch.grid().T[None] - 1))
    centre = sketch.add("Mul", placed, sketch.store(8.0))
    size = sketch.add("Mul", sketch.add("Pow", doubled[1], sketch.store(2.0)), sketch.store([30.0, 60.0]))
    matrix = sketch.store([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
    corners = sketch.add("MatMul", sketch.add("Concat", centre, size, axis=2), matrix)
    classes = sketch.add("Slice", raw, sketch.ints(5), sketch.ints(99), sketch.ints(2))
    return sketch.served(corners, sketch.add("Mul", classes, cut[2]))


def end_to_end(seed: int = 0, opset: int = 17) -> ModelProto:
    """As RT-DETR: the best places refine their boxes once more, from references that travel through a sigmoid."""
    sketch = Sketch(seed, opset)
    features = sketch.backbone(sketch.front())
    tokens = sketch.add("Transpose", sketch.add("Reshape", features, sketch.ints(0, 16, -1)), perm=[0, 2, 1])
    first = sketch.linear(tokens, (16, CLASSES))
    _, index = sketch.top(sketch.add("ReduceMax", first, axes=[2], keepdims=0), 100)
    logits = np.log(sketch.grid() / (SIDE / 8 - sketch.grid())).T
    places = np.concatenate([logits, np.full_like(logits, -2)], axis=1)[None]
    guesses = sketch.add("Add", sketch.linear(tokens, (16, 4)), sketch.store(places))
    reference = sketch.add("GatherElements", guesses, sketch.add("Expand", index, sketch.ints(1, 1, 4)), axis=1)
    unit = sketch.add("Sigmoid", reference)
    queries = sketch.add("GatherElements", tokens, sketch.add("Expand", index, sketch.ints(1, 1, 16)), axis=1)
    sampled = sketch.sampled(features, unit, queries)
    normal = sketch.add("LayerNormalization", sketch.add("Add", queries, sampled), sketch.store(np.ones(16)), axis=-1)
    upper = sketch.add("Clip", unit, sketch.store(1e-5), sketch.store(1 - 1e-5))
    inverse = sketch.add("Log", sketch.add("Div", upper, sketch.add("Sub", sketch.store(1.0), upper)))
    unit = sketch.add("Sigmoid", sketch.add("Add", sketch.linear(normal, (16, 4)), inverse))
    pixels = sketch.add("Mul", unit, sketch.store(float(SIDE)))
    matrix = sketch.store([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
    return sketch.served(
        sketch.add("MatMul", pixels, matrix), sketch.add("Sigmoid", sketch.linear(normal, (16, CLASSES)))
    )


def plain(opset: int) -> ModelProto:
    """Nothing but convolutions: one row a cell."""
    sketch = Sketch(0, opset)
    features = sketch.front()
    for wide in ((3, 8), (8, 8), (8, 6)):
        features = sketch.conv(features, wide, stride=2, active=wide[1] == 8)
    sketch.add("Reshape", sketch.add("Transpose", features, perm=[0, 2, 3, 1]), sketch.ints(0, -1, 6))
    return sketch.model(6400)


HEADS: dict[str, Callable[..., ModelProto]] = {"dense": dense, "anchored": anchored, "end-to-end": end_to_end}


@pytest.fixture(params=sorted(HEADS))
def served(request: pytest.FixtureRequest) -> ModelProto:
    """A served FP32 graph of each family."""
    return HEADS[request.param]()


@pytest.fixture(name="dense")
def dense_graph() -> ModelProto:
    return dense()


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    return draw_picture(7, (SIDE, SIDE)).image_rgb


@pytest.fixture
def old() -> ModelProto:
    return plain(opset=11)
