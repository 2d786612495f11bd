"""The table of options: every value in every spelling, and what is said of a wrong one."""

import math
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lookonce.errors import InvalidOptions
from lookonce.pipeline.request import Options
from lookonce.transports.options import MOST_CLASSES, OPTIONS, options_from
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.rpc.messages import options_of


@contextmanager
def costing_at_most(most_bytes: int) -> Iterator[None]:
    """Memory, which is a measure of time that every machine has in common."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


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


NESTED: list[object] = []
for _ in range(2000):
    NESTED = [NESTED]


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
@pytest.mark.parametrize(("deep", "said"), [(NESTED, "a list"), ({"a": NESTED}, "an object"), ([NESTED], "a list")])
def test_what_is_nested_is_refused_however_deep(name: str, deep: object, said: str) -> None:
    with pytest.raises(InvalidOptions, match=f"^{name}: {said} is not"):
        options_from({name: deep})


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
def test_a_text_that_is_longer_than_any_option_is_not_even_read(name: str) -> None:
    with pytest.raises(InvalidOptions, match=f"^{name}: it has more than 16384 characters; no option is that long"):
        options_from({name: "a," * 10_000})


def test_a_name_that_is_too_long_is_compared_only_at_its_beginning() -> None:
    name = "x" * 10**6
    with costing_at_most(100_000), pytest.raises(InvalidOptions, match=r"^xxx.*… is no option; there are"):
        options_from({name: 1})


def test_of_the_classes_in_a_grpc_message_no_more_are_looked_at_than_there_may_be() -> None:
    sent = wire.Options(classes=["a"] * 10**6)
    with costing_at_most(1_000_000), pytest.raises(InvalidOptions, match=r"^classes: a list is not"):
        options_of(sent)


@pytest.mark.parametrize("digits", ['"1" * 500_000 + "x"', '"1." * 250_000', '"-" + "1" * 500_000 + "e"'])
def test_a_number_of_very_many_digits_is_judged_at_once(digits: str) -> None:
    """The time of a request is one, too. Tried in every way to cut it in two, each of these would take hours."""
    code = f"from lookonce.transports.options import Number; Number(0, 1).read({digits})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr.rstrip().endswith("ValueError")


def test_the_schema_of_each_option_says_what_is_read() -> None:
    schemas = {option.name: option.schema for option in OPTIONS}
    assert schemas["confidence"] == {"type": "number", "minimum": 0, "maximum": 1}
    assert schemas["max_detections"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 300}
    assert schemas["soft"] == {"type": "boolean", "default": False}
    assert schemas["classes"]["default"] == []
    for option in OPTIONS:
        assert option.default is None or options_from({option.name: option.schema["default"]}) == Options()
