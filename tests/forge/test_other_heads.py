"""What is no detector we know, or only looks like one, is refused by its name and never served."""

import re

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.forge import sources
from tests.forge.readings import NAMES, Draw, join, model, one, reading_of, refusal_of, turned
from tests.forge.sources import Sketch

from lookonce.errors import LayoutUnknown, ModelRefused
from lookonce.forge.layouts.table import LAYOUTS


def points_px(sketch: Sketch, *shape: int) -> str:
    return sketch.op("Mul", sketch.unit(*shape), sketch.floats(sketch.width))


def keypoints(sketch: Sketch) -> None:
    rows = join(sketch, sketch.centres(84), sketch.unit(84, 1), points_px(sketch, 84, 6))
    sketch.give(turned(sketch, rows), "output0", 11, 84)


def angles(sketch: Sketch) -> None:
    angle = sketch.op("Mul", sketch.op("Sub", sketch.unit(84, 1), sketch.floats(0.25)), sketch.floats(np.pi))
    sketch.give(turned(sketch, join(sketch, sketch.centres(84), sketch.unit(84, 4), angle)), "output0", 9, 84)


def test_sines_and_cosines_are_a_sign_of_oriented_boxes() -> None:
    """With angles that happen to lie in 0..1, only the graph tells."""

    def draw(sketch: Sketch) -> None:
        angle = sketch.unit(84, 1)
        turn = sketch.op("Add", sketch.op("Sin", angle), sketch.op("Cos", angle))
        centres = sketch.op("Add", sketch.centres(84), turn)
        sketch.give(turned(sketch, join(sketch, centres, sketch.unit(84, 4), angle)), "output0", 9, 84)

    said = refusal_of(model(draw), LayoutUnknown)
    assert "takes sines and cosines, as one for oriented boxes does" in said
    assert "--layout yolov8 (" in said
    assert reading_of(model(draw), layout="yolov8").layout.name == "yolov8"


def test_deformable_detr_is_not_taken_for_rtdetr() -> None:
    """The same outputs from the same operators, but another scale of colours."""
    other = sources.draw("rtdetr-transformers")
    for tensor in other.graph.initializer:
        tensor.name = tensor.name.replace("enc_score_head", "class_embed")
    for node in other.graph.node:
        node.input[:] = [name.replace("enc_score_head", "class_embed") for name in node.input]
    assert "--layout rtdetr-transformers (" in refusal_of(other, LayoutUnknown)


def logits(sketch: Sketch) -> None:
    sketch.give(turned(sketch, join(sketch, sketch.centres(84), sketch.made(84, 4))), "output0", 8, 84)


def shares(sketch: Sketch) -> None:
    rows = join(sketch, sketch.centres(84, unit=True), sketch.unit(84, 4))
    sketch.give(turned(sketch, rows), "output0", 8, 84)


def corners(sketch: Sketch) -> None:
    rows = join(sketch, sketch.corners(sketch.points), sketch.unit(sketch.points, 4))
    sketch.give(turned(sketch, rows), "output0", 8, sketch.points)


def face_landmarks(sketch: Sketch) -> None:
    rows = join(sketch, sketch.centres(252), sketch.unit(252, 1), points_px(sketch, 252, 10), sketch.unit(252, 1))
    sketch.give(rows, "output0", 252, 16)


@pytest.mark.parametrize(
    ("draw", "why"),
    [
        (keypoints, "so they are no scores"),
        (angles, "so they are no scores"),
        (logits, "so they are no scores"),
        (shares, "so they are not in pixels"),
        (face_landmarks, "so they are no scores"),
        (corners, "as corners taken for centre and size do"),
    ],
    ids=["pose", "oriented boxes", "logits", "boxes in shares", "faces", "corners"],
)
def test_another_head_in_a_detectors_shape_is_not_taken_for_one(draw: Draw, why: str) -> None:
    size = {"width": 224, "height": 224} if draw is corners else {}
    said = refusal_of(model(draw, **size), LayoutUnknown)
    assert why in said
    assert "If it is one all the same, insist with --layout yolov" in said


@pytest.mark.parametrize(("task", "what"), [("segment", "a segmentation model"), ("pose", "a pose model"),
                                            ("obb", "an oriented-box model"), ("classify", "a classifier"),
                                            ("depth", "made for depth")])  # fmt: skip
def test_metadata_that_names_another_task_is_enough(task: str, what: str) -> None:
    said = refusal_of(sources.draw("yolov8", metadata={"task": task}), LayoutUnknown)
    assert f"is {what}, not a detector; export a detect model" in said


def test_a_transposed_v8_head_is_never_taken_for_one_with_objectness() -> None:
    points = 28 * 28 + 14 * 14 + 7 * 7

    def draw(sketch: Sketch) -> None:
        sketch.give(join(sketch, sketch.centres(points), sketch.unit(points, 4)), "output0", points, 8)

    silent, named = (model(draw, names, width=224, height=224) for names in ({}, NAMES))
    said = refusal_of(named, LayoutUnknown)
    assert "3 as yolov6, 3 as yolox, 3 as yolox-decoded" in said
    assert "there are 4 labels" in said
    assert "do not say which layout they are" in refusal_of(silent, LayoutUnknown)
    assert "3 classes and 4 labels" in refusal_of(named, ModelRefused, layout="yolox-decoded")
    assert "objectness is not 1" in reading_of(silent, layout="yolov6").doubt


def segmentation(sketch: Sketch) -> None:
    rows = join(sketch, sketch.centres(84), sketch.unit(84, 4), sketch.made(84, 32))
    sketch.give(turned(sketch, rows), "output0", 40, 84)
    sketch.give(sketch.made(32, 16, 16), "output1", 32, 16, 16)


def flat(rows: int) -> Draw:
    return one((7,), lambda sketch: sketch.op("Reshape", sketch.made(rows * 7), sketch.const(np.array([-1, 7]))))


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (one((1000,), lambda sketch: sketch.op("Softmax", sketch.made(1000))), "looks like a classifier"),
        (one((7,), lambda sketch: sketch.op("Softmax", sketch.made(7))), "looks like a classifier"),
        (segmentation, "looks like a segmentation model"),
        (one((3, 64, 64), lambda sketch: sketch.made(3, 64, 64)), "no layout we know"),
        (one((9, 85), lambda sketch: sketch.op("Squeeze", sketch.made(9, 85))), "no layout we know"),
        (one((16, 12, 12), lambda sketch: sketch.made(16, 12, 12)), "no layout we know|do not say|say with --labels"),
    ],
    ids=["classifier", "seven classes", "segmentation", "image", "no batch", "heat map"],
)
def test_what_is_no_detector_is_called_by_its_name(draw: Draw, sentence: str) -> None:
    assert re.search(sentence, refusal_of(model(draw)))


def suppressing(sketch: Sketch) -> tuple[str, str]:
    """Boxes that survive a NonMaxSuppression in the graph [1,M,4], and their rows of 3."""
    boxes, scores = sketch.corners(84), turned(sketch, sketch.unit(84, 4))
    limits = [sketch.const(np.array([50])), sketch.floats([0.5]), sketch.floats([0.9])]
    chosen = sketch.op("NonMaxSuppression", boxes, scores, *limits)
    places = sketch.op("Gather", chosen, sketch.const(np.array(2)), axis=1)
    return sketch.op("Gather", boxes, places, axis=1), sketch.op("Cast", chosen, to=sketch.kind)


def rows_of_six(sketch: Sketch) -> None:
    boxes, chosen = suppressing(sketch)
    label = sketch.reshape(sketch.op("Gather", chosen, sketch.const(np.array([1])), axis=1), 1, -1, 1)
    score = sketch.op("Sigmoid", label)
    sketch.give(join(sketch, boxes, score, label), "output0", "rows", 6)


def rows_of_seven(sketch: Sketch) -> None:
    boxes, chosen = suppressing(sketch)
    both = sketch.op("Slice", chosen, *(sketch.const(np.array([v])) for v in (0, 2, 1)))
    first = sketch.op("Slice", chosen, *(sketch.const(np.array([v])) for v in (0, 1, 1)))
    sketch.op("Concat", first, sketch.reshape(boxes, -1, 4), both, axis=1, out="output")
    sketch.outputs.append(helper.make_tensor_value_info("output", sketch.kind, ["rows", 7]))


@pytest.mark.parametrize("asked", [None, "end2end"])
def test_a_number_of_rows_that_the_picture_decides_is_refused(asked: str | None) -> None:
    said = refusal_of(model(rows_of_six, NAMES | {"end2end": "True"}), LayoutUnknown, layout=asked)
    assert "another number of rows" in said


@pytest.mark.parametrize("draw", [rows_of_seven, flat(20), flat(1000)], ids=["dynamic", "20", "1000"])
def test_a_flat_list_of_seven_columns_is_refused_with_the_reason(draw: Draw) -> None:
    said = refusal_of(model(draw, NAMES), LayoutUnknown)
    assert "flat list of 7 columns" in said
    assert "Triton cannot batch it; export it without --end2end" in said


def test_scores_before_boxes_are_not_taken_for_v4() -> None:
    def draw(sketch: Sketch) -> None:
        sketch.give(sketch.unit(252, 4), "confs", 252, 4)
        sketch.give(sketch.corners(252, 1, unit=True), "boxes", 252, 1, 4)

    assert "no layout we know" in refusal_of(model(draw, NAMES), LayoutUnknown)


def test_names_without_their_shapes_are_not_enough() -> None:
    """What torchvision's detectors and CenterNet exports give: the same names, other tensors."""

    def rowless(sketch: Sketch) -> None:
        for name, shape in (("labels", (50,)), ("boxes", (50, 5)), ("scores", (50,))):
            sketch.give(sketch.unit(*shape), name, *shape)

    def heat_maps(sketch: Sketch) -> None:
        for name, depth in (("hm", 80), ("wh", 2), ("reg", 2)):
            sketch.give(sketch.unit(depth, 16, 16), name, depth, 16, 16)

    for draw in (rowless, heat_maps):
        refusal_of(model(draw, NAMES), LayoutUnknown)
        for layout in LAYOUTS:
            refusal_of(model(draw, NAMES), LayoutUnknown, layout=layout)


def answers_in_words(sketch: Sketch) -> None:
    sketch.op("Identity", sketch.const(np.array(["a", "b"], object)), out="words")
    sketch.outputs.append(helper.make_tensor_value_info("words", TensorProto.STRING, [2]))


def answers_in_a_list(sketch: Sketch) -> None:
    boxes, scores = sketch.centres(84), sketch.unit(84, 4)
    sketch.op("SequenceConstruct", boxes, scores, out="list")
    value = helper.make_tensor_sequence_value_info("list", sketch.kind, None)
    sketch.outputs.append(value)


@pytest.mark.parametrize("draw", [answers_in_words, answers_in_a_list])
def test_what_answers_with_other_things_than_numbers_is_refused(draw: Draw) -> None:
    refusal_of(model(draw, NAMES))
