"""The table of options: every value in every spelling, and what is said of a wrong one."""

import math

import pytest

from lookonce.errors import InvalidOptions
from lookonce.pipeline.request import Options
from lookonce.transports.options import MOST_CLASSES, OPTIONS, options_from


def test_no_fields_are_the_defaults() -> None:
    assert options_from({}) == Options()


def test_the_table_holds_every_option_of_the_pipeline_in_its_order() -> None:
    assert tuple(option.name for option in OPTIONS) == Options.__slots__


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("confidence", "0.5", 0.5),
        ("confidence", ".5", 0.5),
        ("confidence", "5e-1", 0.5),
        ("confidence", 0, 0.0),
        ("confidence", "1", 1.0),
        ("iou", 0.45, 0.45),
        ("classes", "cat,dog", ("cat", "dog")),
        ("classes", " cat , traffic light ", ("cat", "traffic light")),
        ("classes", "0,2", ("0", "2")),
        ("classes", ["cat", 2], ("cat", 2)),
        ("classes", [], ()),
        ("classes", "", ()),
        ("max_detections", "1", 1),
        ("max_detections", 1000, 1000),
        ("max_detections", 12.0, 12),
        ("class_agnostic", "true", True),
        ("class_agnostic", "False", False),
        ("soft", True, True),
        ("normalized", "TRUE", True),
    ],
)
def test_a_value_is_read_from_text_and_from_json(name: str, given: object, read: object) -> None:
    options = options_from({name: given})
    assert getattr(options, name) == read
    assert type(getattr(options, name)) is type(read)


@pytest.mark.parametrize(
    "wrong", ["", "high", "nan", "inf", "-0.1", "1.0001", "1_0", "0x1", "1e999", "٠", None, True, [], {}]
)
def test_a_confidence_that_is_none_is_refused_with_the_range(wrong: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^confidence: .* is not a number from 0 to 1; correct it\.$"):
        options_from({"confidence": wrong})


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1.01, 10**400])
def test_a_number_of_json_is_held_to_the_range_too(wrong: float) -> None:
    with pytest.raises(InvalidOptions, match=r"^iou: "):
        options_from({"iou": wrong})


@pytest.mark.parametrize("wrong", ["0", "1001", "1.5", "ten", "9" * 5000, 0, 1001, 1.5, True, None, math.inf, math.nan])
def test_a_number_of_detections_is_whole_and_in_range(wrong: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^max_detections: .* is not a whole number from 1 to 1000"):
        options_from({"max_detections": wrong})


@pytest.mark.parametrize("wrong", ["yes", "1", "", 1, 0, None, []])
def test_a_flag_is_true_or_false(wrong: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^soft: .* is not true or false"):
        options_from({"soft": wrong})


@pytest.mark.parametrize(
    "wrong",
    ["cat,,dog", ",", [True], [1.5], [None], [[]], [""], {"cat": 1}, 3, 0, None, False, ["cat"] * (MOST_CLASSES + 1)],
)
def test_classes_are_a_list_of_ids_or_labels(wrong: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^classes: .* is not a list of at most 1000 class ids or labels"):
        options_from({"classes": wrong})


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [("confidnce", "did you mean confidence?"), ("max_detection", "did you mean max_detections?"), ("x", "there are")],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(unknown: str, hint: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        options_from({"confidence": "0.5", unknown: "1"})
    assert str(refused.value).startswith(f"{unknown} is no option; {hint}")


def test_a_long_value_is_not_said_back_in_full() -> None:
    with pytest.raises(InvalidOptions) as refused:
        options_from({"confidence": "9" * 10_000})
    assert len(str(refused.value)) < 150


def test_the_schema_of_each_option_says_what_is_read() -> None:
    schemas = {option.name: option.schema for option in OPTIONS}
    assert schemas["confidence"] == {"type": "number", "minimum": 0, "maximum": 1}
    assert schemas["max_detections"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 300}
    assert schemas["soft"] == {"type": "boolean", "default": False}
    assert schemas["classes"]["default"] == []
    for option in OPTIONS:
        assert option.default is None or options_from({option.name: option.schema["default"]}) == Options()
