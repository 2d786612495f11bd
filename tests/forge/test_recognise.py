"""Which layout a file is taken for, why, and what is said where facts do not decide. Never a silent guess."""

import pytest
from tests.forge import sources
from tests.forge.readings import NAMES, join, model, reading_of, refusal_of
from tests.forge.sources import Sketch

from lookonce.errors import LayoutUnknown, ModelRefused
from lookonce.forge.layouts.table import LAYOUTS

DECIDED = {
    "yolov8": "no other family has outputs of this shape",
    "yolov9-dual": "the second the main one",
    "yolov5": "no other family has outputs of this shape",
    "yolov6": "its objectness is 1 everywhere",
    "yolox": "an Exp in the graph is absent",
    "yolox-decoded": "an Exp in the graph is present",
    "yolov4-pytorch": "no other family has outputs of this shape",
    "end2end": "its metadata says end2end",
    "rtdetr-ultralytics": "its metadata says RT-DETR",
    "rtdetr-ultralytics-dense": "its metadata says RT-DETR",
    "rtdetr": "it asks for orig_target_sizes",
    "rtdetr-transformers": "enc_score_head carry this family's names, and its attention samples a grid",
    "yolo-nas": "its outputs carry this family's names",
    "efficientnms-corners": "EfficientNMS",
    "efficientnms-centres": "EfficientNMS",
}
UNDECIDED = {
    "yolov7-raw": ("yolov7-raw", "yolov5-raw"),
    "yolov5-raw": ("yolov7-raw", "yolov5-raw"),
    "darknet-v3": ("darknet-v3", "darknet-v4"),
    "darknet-v4": ("darknet-v3", "darknet-v4"),
    "darknet-v3-tiny": ("darknet-v3-tiny", "darknet-v4-tiny"),
    "darknet-v4-tiny": ("darknet-v3-tiny", "darknet-v4-tiny"),
    "yolov1": ("yolov1", "yolov1-roots"),
    "yolov1-roots": ("yolov1", "yolov1-roots"),
}


def test_the_two_lists_hold_every_layout() -> None:
    assert set(DECIDED) | set(UNDECIDED) == set(LAYOUTS)


@pytest.mark.parametrize("layout", DECIDED)
def test_a_layout_that_facts_decide_is_taken_with_its_reason(layout: str) -> None:
    reading = reading_of(sources.draw(layout))
    assert reading.layout.name == layout
    assert DECIDED[layout] in reading.why
    assert reading.labels == ("a", "b", "c", "d")
    assert reading.labels_found


@pytest.mark.parametrize("layout", UNDECIDED)
def test_a_layout_that_nothing_decides_names_the_choices_and_their_flags(layout: str) -> None:
    said = refusal_of(sources.draw(layout), LayoutUnknown)
    for choice in UNDECIDED[layout]:
        assert f"--layout {choice} (" in said
    reading = reading_of(sources.draw(layout), layout=layout)
    assert (reading.layout.name, reading.why) == (layout, "you said so with --layout")


def test_300_rows_of_6_without_metadata_are_two_things() -> None:
    for layout in ("end2end", "rtdetr-ultralytics"):
        silent = sources.draw(layout, metadata={"end2end": "", "description": ""})
        said = refusal_of(silent, LayoutUnknown)
        assert "--layout end2end (" in said
        assert "--layout rtdetr-ultralytics (" in said
        assert "values reach" in said


def test_rows_with_objectness_on_points_are_three_things() -> None:
    def draw(sketch: Sketch) -> None:
        sketch.give(join(sketch, sketch.centres(84), sketch.unit(84, 5)), "output0", 84, 9)

    said = refusal_of(model(draw, NAMES), LayoutUnknown)
    for choice in ("yolov6", "yolox", "yolox-decoded"):
        assert f"--layout {choice} (" in said


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ({"end2end": "True"}, "end2end"),
        ({"args": "{'batch': 1, 'nms': True}"}, "NMS is in the graph"),
        ({"description": "Ultralytics YOLOv10n model trained on coco.yaml"}, "YOLOv10"),
    ],
)
def test_what_metadata_says_decides_for_end2end(says: dict[str, str], why: str) -> None:
    reading = reading_of(sources.draw("end2end", metadata={"end2end": ""} | says))
    assert reading.layout.name == "end2end"
    assert why in reading.why


def test_metadata_that_contradicts_itself_decides_nothing() -> None:
    both = sources.draw("end2end", metadata={"end2end": "True", "description": "Ultralytics RT-DETR"})
    assert "--layout end2end" in refusal_of(both, LayoutUnknown)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_layout_that_cannot_be_is_refused_with_those_that_fit(layout: str) -> None:
    wrong = "yolov8" if layout != "yolov8" else "yolov5"
    said = refusal_of(sources.draw(layout), LayoutUnknown, layout=wrong)
    assert f"cannot be {wrong} (" in said
    assert layout in said.partition("layouts that fit: ")[2]


def test_a_layout_nobody_knows_is_refused_with_all_names() -> None:
    said = refusal_of(sources.draw("yolov8"), LayoutUnknown, layout="yolov99")
    assert "there is no layout yolov99" in said
    assert all(name in said for name in LAYOUTS)


@pytest.mark.parametrize(
    ("drawn", "asked", "why"),
    [
        ("end2end", "rtdetr-ultralytics", "px on a picture of 64"),
        ("rtdetr-ultralytics", "end2end", "not in pixels"),
        ("yolox", "yolox-decoded", "not in pixels"),
        ("yolox-decoded", "yolox", "px on a picture of 64"),
        ("yolox-decoded", "yolov6", "its objectness is not 1 everywhere"),
    ],
)
def test_a_layout_that_a_person_insists_on_is_taken_with_what_speaks_against_it(
    drawn: str, asked: str, why: str
) -> None:
    said = reading_of(sources.draw(drawn), layout=asked).doubt
    assert f"does not look like {asked} (" in said
    assert why in said


def test_nothing_speaks_against_the_layout_that_it_is() -> None:
    assert {name: reading_of(sources.draw(name), layout=name).doubt for name in LAYOUTS} == dict.fromkeys(LAYOUTS, "")


@pytest.mark.parametrize(
    ("layout", "said", "sentence"),
    [
        ("yolov8", tuple("abc"), "has 4 classes and 3 labels were given; name each class once"),
        ("yolov8", tuple("abcde"), "has 4 classes and 5 labels were given"),
        ("rtdetr", tuple("ab"), "gives class 3 as rtdetr, and there are 2 labels"),
        ("end2end", tuple("abc"), "gives class 3 as end2end, and there are 3 labels"),
        ("yolo-nas", tuple("a"), "gives class 3 as yolo-nas, and there are 1 labels"),
    ],
)
def test_a_wrong_number_of_labels_is_refused(layout: str, said: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal_of(sources.draw(layout), ModelRefused, labels=said)


@pytest.mark.parametrize("layout", ["end2end", "rtdetr-ultralytics", "rtdetr", "yolo-nas", "yolov1"])
def test_where_the_outputs_do_not_count_the_classes_labels_are_asked_for(layout: str) -> None:
    silent = sources.draw(layout, metadata={"names": ""})
    assert "say with --labels FILE" in refusal_of(silent, ModelRefused, layout=layout)
    assert reading_of(silent, layout=layout, labels=tuple("wxyz")).labels == ("w", "x", "y", "z")


def test_labels_nobody_gave_are_numbered_and_said_to_be_missing() -> None:
    reading = reading_of(sources.draw("yolov8", metadata={"names": ""}))
    assert reading.labels == ("class_0", "class_1", "class_2", "class_3")
    assert not reading.labels_found


@pytest.mark.parametrize(
    "names", ["__import__('os').system('true')", "[" * 10_000, "{0: 'a'", "x" * 3_000_000, "{'x': 'a'}"]
)
def test_hostile_names_are_no_names(names: str) -> None:
    assert not reading_of(sources.draw("yolov8", metadata={"names": names})).labels_found


def test_a_sixth_column_of_scores_is_not_taken_for_classes() -> None:
    """RT-DETR with two classes has rows of six, and so has v5 with one."""

    def queries(sketch: Sketch) -> None:
        sketch.give(join(sketch, sketch.centres(50, unit=True), sketch.unit(50, 2)), "output0", 50, 6)

    said = {"description": "Ultralytics RT-DETR-l model", "names": "['a', 'b']"}
    assert reading_of(model(queries, said)).layout.name == "rtdetr-ultralytics-dense"
    assert reading_of(sources.draw("yolov5", classes=1)).layout.name == "yolov5"
    end2end = reading_of(sources.draw("end2end", metadata={"description": "YOLOv10"}))
    assert end2end.layout.name == "end2end"


def test_outputs_in_another_order_are_found_by_name_and_by_size() -> None:
    for layout in ("rtdetr", "rtdetr-transformers", "yolo-nas", "darknet-v4", "yolov7-raw"):
        straight, swapped = sources.draw(layout), sources.draw(layout)
        outputs = list(swapped.graph.output)[::-1]
        del swapped.graph.output[:]
        swapped.graph.output.extend(outputs)
        asked = layout if layout in UNDECIDED else None
        one_way, other_way = reading_of(straight, layout=asked), reading_of(swapped, layout=asked)
        assert one_way.output_names == other_way.output_names
        assert one_way.output_shapes == other_way.output_shapes
