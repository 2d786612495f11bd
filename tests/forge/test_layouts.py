"""Every layout, drawn small, becomes a graph with the one face, and says what the reference says."""

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from tests.forge import sources
from tests.forge.readings import source_of
from tests.vision import naive

from lookonce.forge.layouts.table import LAYOUTS
from lookonce.forge.recognise import Reading, Wishes, read
from lookonce.forge.reference import Reference
from lookonce.forge.running import Execution
from lookonce.forge.surgery import MOST_CANDIDATES, rows_kept, served_graph
from lookonce.vision.letterbox import Fit

MOST_BOX_PX, MOST_SCORE = 0.01, 1e-5
HALF_STEP = 2**-10
"""FP16 keeps 11 bits: where ONNX Runtime drops a rounding between two casts, a value moves by one part in 1024."""
FIRST_OPSET = {"rtdetr-transformers": 16}
OPSETS = 11, 13, 17, 18, 20
K = 30


@cache
def reading_of(layout: str, wishes: Wishes | None = None, **how: Any) -> Reading:  # noqa: ANN401
    return reading_of_model(sources.draw(layout, **how), layout, wishes)


def reading_of_model(model: onnx.ModelProto, layout: str, wishes: Wishes | None = None) -> Reading:
    return read(source_of(model), wishes or Wishes(layout=layout))


def served(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return Execution(model)({"images": images})[0]


def assert_agrees(
    found: np.ndarray, expected: np.ndarray, box_px: float = MOST_BOX_PX, score: float = MOST_SCORE
) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 4], expected[..., 4], rtol=0, atol=score)
    np.testing.assert_array_equal(found[..., 5], expected[..., 5])
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=0, atol=box_px)


def assert_same_rows(found: np.ndarray, expected: np.ndarray, box_px: float, score: float) -> None:
    """As sets: rows whose scores lie closer than the tolerance may stand in either order, or fall off the end."""
    np.testing.assert_allclose(found[..., 4], expected[..., 4], rtol=0, atol=score)
    for some, others in zip(found, expected, strict=True):
        floor = some[-1, 4] + 2 * score
        for row in some[some[:, 4] > floor]:
            near = np.abs(others[:, :4] - row[:4]).max(axis=1) <= box_px
            assert (near & (np.abs(others[:, 4] - row[4]) <= score) & (others[:, 5] == row[5])).any(), row


def test_every_layout_of_the_table_is_drawn_and_has_a_naive_twin() -> None:
    assert set(sources.DRAWN) == set(LAYOUTS) == set(naive.BY_LAYOUT)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("batch", "channels_last"),
    [(1, False), (2, False), ("batch", False), (1, True), ("batch", True)],
    ids=["one", "two", "free", "one-NHWC", "free-NHWC"],
)
def test_the_served_graph_is_the_reference(layout: str, batch: int | str, *, channels_last: bool) -> None:
    reading = reading_of(layout, batch=batch, channels_last=channels_last)
    images = sources.noise(3)
    expected = Reference(reading).candidates(images, K)
    assert np.ptp(expected[..., 4]) > 0.02
    assert len(set(expected[..., 5].ravel())) > 1
    assert_agrees(served(served_graph(reading, K, 8), images), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_half_precision_source_is_served_as_it_is(layout: str, batch: int | str) -> None:
    reading = reading_of(layout, batch=batch, half=True)
    images = sources.noise(3)
    found = served(served_graph(reading, K, 8), images)
    reach = np.abs(found[..., :4]).max()
    assert_same_rows(found, Reference(reading).candidates(images, K), reach * 4 * HALF_STEP, 2 * HALF_STEP)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_served_graph_says_what_plain_python_says_of_the_sources_own_outputs(layout: str) -> None:
    """End to end without any code of ours but the surgery: ONNX Runtime on the source, then the naive decoder."""
    width, height = 96, 64
    reading = reading_of(layout, width=width, height=height, batch="batch")
    images = sources.noise(2, width, height)
    cut = reading.probed.model
    session = onnxruntime.InferenceSession(cut.SerializeToString(), providers=["CPUExecutionProvider"])
    swapped = images[..., ::-1] if layout.startswith("yolox") else images
    scale = 1 if layout.startswith("yolox") else 255
    fed: dict[str, Any] = {"images": np.float32(swapped / np.float32(scale)).transpose(0, 3, 1, 2).copy()}
    if layout == "rtdetr":
        fed["orig_target_sizes"] = np.array([[width, height]] * 2, np.int64)
    outputs = dict(zip((value.name for value in session.get_outputs()), session.run(None, fed), strict=True))
    order = {
        "darknet-v3": ["grid0", "grid1", "grid2"],
        "darknet-v3-tiny": ["grid1", "grid2"],
        "darknet-v4-tiny": ["grid1", "grid2"],
    }.get(layout, list(outputs))
    spec = {
        "width": width, "height": height, "classes": 4, "strides": (8, 16, 32),
        "anchors_wh": LAYOUTS[layout].anchors_wh, "scale_xy": LAYOUTS[layout].scale_xy,
    }  # fmt: skip
    expected = [
        naive.best_rows(naive.BY_LAYOUT[layout]([outputs[name][place] for name in order], spec), K)
        for place in range(2)
    ]
    assert_agrees(served(served_graph(reading, K, 8), images), np.array(expected, np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("opset", OPSETS)
def test_the_face_is_exact_and_the_dialect_is_the_sources(layout: str, opset: int) -> None:
    opset = max(opset, FIRST_OPSET.get(layout, 0))
    model = sources.draw(layout, opset=opset)
    reading = reading_of_model(model, layout)
    graph = served_graph(reading, K, 8)
    onnx.checker.check_model(graph, full_check=True)
    assert (graph.ir_version, list(graph.opset_import)) == (model.ir_version, list(model.opset_import))
    assert face(graph.graph.input) == [("images", TensorProto.UINT8, ["batch", 64, 64, 3])]
    assert face(graph.graph.output) == [("candidates", TensorProto.FLOAT, ["batch", K, 6])]
    assert served(graph, sources.noise(2)).shape == (2, K, 6)
    assert not stale(graph)
    assert all(node.domain in ("", "ai.onnx") for node in graph.graph.node)
    assert next(node.op_type for node in graph.graph.node if "images" in node.input) == "Cast"


def face(values: Any) -> list[tuple[str, int, list[Any]]]:  # noqa: ANN401
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
        )
        for value in values
    ]


def stale(model: onnx.ModelProto) -> list[str]:
    """Shapes written down of tensors that nothing makes, or with the batch the exporter had fixed."""
    made = {name for node in model.graph.node for name in node.output}
    found = [value.name for value in model.graph.value_info if value.name not in made]
    again = onnx.ModelProto()
    again.CopyFrom(model)
    del again.graph.value_info[:]
    fresh = {value.name: value for value in onnx.shape_inference.infer_shapes(again).graph.value_info}
    return found + [value.name for value in model.graph.value_info if value != fresh.get(value.name)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 2, "batch"])
def test_a_maximum_batch_of_one_is_served_at_one(layout: str, batch: int | str) -> None:
    reading = reading_of(layout, batch=batch)
    graph = served_graph(reading, K, 1)
    assert face(graph.graph.input)[0][2] == [1, 64, 64, 3]
    assert face(graph.graph.output)[0][2] == [1, K, 6]
    images = sources.noise(1)
    assert_agrees(served(graph, images), Reference(reading).candidates(images, K))


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"end2end", "rtdetr-ultralytics"}))
def test_one_class_is_enough(layout: str) -> None:
    reading = reading_of(layout, classes=1)
    assert reading.spec.classes == len(reading.labels) == 1
    images = sources.noise(2)
    found = served(served_graph(reading, K, 2), images)
    assert set(found[..., 5].ravel()) <= {0.0, -1.0}
    assert_agrees(found, Reference(reading).candidates(images, K))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 160)])
def test_pictures_need_not_be_square(layout: str, width: int, height: int) -> None:
    reading = reading_of(layout, width=width, height=height)
    assert (reading.spec.width, reading.spec.height) == (width, height)
    images = sources.noise(2, width, height)
    graph = served_graph(reading, K, 2)
    assert face(graph.graph.input)[0][2][1:] == [height, width, 3]
    assert_agrees(served(graph, images), Reference(reading).candidates(images, K))


@pytest.mark.parametrize("layout", ["yolov8", "yolox", "rtdetr", "darknet-v4"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(colour="bgr"),
        Wishes(colour="rgb"),
        Wishes(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        Wishes(colour="bgr", mean=(0, 0, 0), std=(1, 1, 1)),
        Wishes(fit=Fit.STRETCH),
    ],
)
def test_what_the_person_says_of_colour_scale_and_fit_holds(
    layout: str, wishes: Wishes, *, channels_last: bool
) -> None:
    said = Wishes(layout, colour=wishes.colour, mean=wishes.mean, std=wishes.std, fit=wishes.fit)
    reading = reading_of(layout, said, channels_last=channels_last)
    for wish in ("colour", "mean", "std", "fit"):
        wanted = getattr(wishes, wish)
        assert getattr(reading.feeding, wish) == (getattr(LAYOUTS[layout].feeding, wish) if wanted is None else wanted)
    images = sources.noise(2)
    found = served(served_graph(reading, K, 2), images)
    assert_agrees(found, Reference(reading).candidates(images, K))
    assert np.array_equal(
        found, served(served_graph(reading_of(layout, channels_last=channels_last), K, 2), images)
    ) == (reading.feeding == LAYOUTS[layout].feeding or wishes.fit is not None)


def test_the_colours_and_the_scale_reach_the_source_as_they_should() -> None:
    """By hand: a source that gives back its first pixel's three values as scores."""
    sketch = sources.Sketch(metadata={"names": "['a', 'b', 'c']"})
    pixel = sketch.op("Slice", "images", *(sketch.const(np.array(v)) for v in ([0, 0], [1, 1], [2, 3])))
    scores = sketch.op("Expand", sketch.reshape(pixel, 1, 3, 1), sketch.const(np.array([1, 3, 84])))
    boxes = sketch.op("Transpose", sketch.centres(84), perm=[0, 2, 1])
    sketch.give(sketch.op("Concat", boxes, scores, axis=1), "output0", 7, 84)
    images = np.zeros((1, 64, 64, 3), np.uint8)
    images[0, 0, 0] = 51, 102, 204
    for wishes, score, best in [
        (Wishes(), 204 / 255, 2),
        (Wishes(colour="bgr"), 204 / 255, 0),
        (Wishes(mean=(0, 0, 200), std=(255, 255, 255)), 102 / 255, 1),
        (Wishes(colour="bgr", mean=(200, 0, 0), std=(255, 204, 255)), 0.5, 1),
    ]:
        rows = served(served_graph(reading_of_model(sketch.model(), "", wishes), 3, 1), images)
        np.testing.assert_allclose(rows[0, :, 4:], [[score, best]] * 3, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_are_never_more_candidates_than_rows(layout: str) -> None:
    reading = reading_of(layout)
    images = sources.noise(1)
    rows = reading.rows
    assert rows_kept(reading, 100_000) == rows
    assert rows_kept(reading, 1) == 1
    for kept in (1, rows):
        assert_agrees(served(served_graph(reading, kept, 2), images), Reference(reading).candidates(images, kept))


def test_candidates_are_capped_where_tensorrts_top_k_ends() -> None:
    reading = reading_of("yolov5", width=320, height=320, classes=1)
    assert reading.rows == 6300
    assert rows_kept(reading, 5000) == MOST_CANDIDATES == 3840
    images = sources.noise(1, 320, 320)
    found = served(served_graph(reading, 3840, 1), images)
    assert_same_rows(found, Reference(reading).candidates(images, 3840), MOST_BOX_PX, MOST_SCORE)


@pytest.mark.parametrize("layout", ["yolov8", "yolov9-dual", "yolov5", "yolov6", "yolox", "yolox-decoded"])
@pytest.mark.parametrize("strides", [(8, 16, 32, 64), (4, 8, 16, 32), (16, 32)], ids=["P6", "P2", "tiny"])
def test_other_sets_of_strides_are_known(layout: str, strides: tuple[int, ...]) -> None:
    reading = reading_of(layout, Wishes(), strides=strides, width=128)
    assert reading.layout.name == layout
    images = sources.noise(1, 128)
    assert_agrees(served(served_graph(reading, K, 1), images), Reference(reading).candidates(images, K))


@pytest.fixture(scope="module")
def uint8_source() -> Reading:
    sketch = sources.Sketch()
    sources.DRAWN["yolov8"](sketch)
    model = sketch.model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    for node in model.graph.node:
        node.input[:] = ["scaled" if name == "images" else name for name in node.input]
    scale = onnx.numpy_helper.from_array(np.float32(255), "scale")
    model.graph.initializer.append(scale)
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT))
    model.graph.node.insert(1, onnx.helper.make_node("Div", ["wide", "scale"], ["scaled"]))
    return reading_of_model(model, "yolov8")


def test_a_source_that_takes_bytes_is_fed_bytes(uint8_source: Reading) -> None:
    assert uint8_source.feeding.std == (1, 1, 1)
    images = sources.noise(2)
    expected = Reference(uint8_source).candidates(images, K)
    assert_agrees(served(served_graph(uint8_source, K, 2), images), expected)
    assert_agrees(expected, Reference(reading_of("yolov8")).candidates(images, K))


@cache
def scored(value: float) -> Reading:
    """A detector that gives every third anchor of a bright picture `value` for scores."""
    sketch = sources.Sketch(batch="batch", metadata={"names": "['a', 'b', 'c', 'd']"})
    scores = sketch.unit(84, 4)
    spoiled = np.zeros((84, 4), bool)
    spoiled[::3] = True
    brightest = sketch.op("ReduceMax", "images", axes=[1, 2, 3], keepdims=0)
    bright = sketch.op("Greater", sketch.reshape(brightest, -1, 1, 1), sketch.floats(1.5))
    where = sketch.op("And", sketch.const(spoiled), bright)
    scores = sketch.op("Where", where, sketch.floats(value), scores)
    rows = sketch.op("Concat", sketch.centres(84), scores, axis=-1)
    sketch.give(sketch.op("Transpose", rows, perm=[0, 2, 1]), "output0", 8, 84)
    return reading_of_model(sketch.model(), "yolov8", Wishes(layout="yolov8", std=(100, 100, 100)))


@pytest.mark.parametrize("value", [float("nan"), 0.0, -1.0, -float("inf")])
def test_scores_that_are_none_leave_empty_rows_behind_the_good_ones(value: float) -> None:
    reading, images = scored(value), sources.noise(2)
    found = served(served_graph(reading, 84, 2), images)
    assert_agrees(found, Reference(reading).candidates(images, 84))
    np.testing.assert_array_equal(found[:, 56:], np.broadcast_to([0, 0, 0, 0, 0, -1], (2, 28, 6)))
    assert (found[:, :56, 4] > 0).all()
    assert np.isfinite(found).all()


def test_a_picture_with_nothing_in_it_gives_empty_rows() -> None:
    reading = scored(float("nan"))
    black = np.zeros((1, 64, 64, 3), np.uint8)
    assert (served(served_graph(reading, K, 2), black)[..., 4] > 0).all()  # not bright: nothing is spoiled
    sketch = sources.Sketch(metadata={"names": "['a', 'b']"})
    silent = sketch.op("Mul", sketch.unit(84, 2), sketch.floats(0))
    rows = sketch.op("Concat", sketch.centres(84), silent, axis=-1)
    sketch.give(sketch.op("Transpose", rows, perm=[0, 2, 1]), "output0", 6, 84)
    reading = reading_of_model(sketch.model(), "yolov8")
    for kept in (1, 84):
        found = served(served_graph(reading, kept, 2), sources.noise(2))
        np.testing.assert_array_equal(found, np.broadcast_to([0, 0, 0, 0, 0, -1], (2, kept, 6)))
