"""What a caller's options come to for one model."""

from collections.abc import Callable

import pytest

from lookonce.card import Card
from lookonce.errors import InvalidOptions
from lookonce.pipeline.request import Options
from lookonce.pipeline.rule import rule_of
from lookonce.vision.nms import Suppression

LABELS = ("cat", "dog", "7", "cat", "straße")


@pytest.fixture
def card(card_of: Callable[..., Card]) -> Card:
    return card_of(labels=LABELS, confidence=0.4, iou=0.6, needs_nms=True)


def test_what_is_not_said_is_left_to_the_card(card: Card) -> None:
    assert rule_of(Options(), card) == Suppression(confidence=0.4, iou=0.6, max_detections=300, needed=True)


def test_nought_is_said(card: Card) -> None:
    rule = rule_of(Options(confidence=0.0, iou=0.0), card)
    assert (rule.confidence, rule.iou) == (0.0, 0.0)


def test_every_option_reaches_the_rule(card: Card) -> None:
    options = Options(0.1, 0.2, ("dog",), max_detections=5, class_agnostic=True, soft=True)
    assert rule_of(options, card) == Suppression(0.1, 0.2, 5, class_agnostic=True, classes=(1,), soft=True)


def test_a_model_that_needs_no_suppression_gets_none(card_of: Callable[..., Card]) -> None:
    assert not rule_of(Options(iou=0.1), card_of(needs_nms=False)).needed


@pytest.mark.parametrize(
    ("wanted", "class_ids"),
    [
        ((), ()),
        ((0,), (0,)),
        (("1",), (1,)),
        (("dog", 0), (1, 0)),
        (("cat",), (0,)),  # the first of two of that name
        ((3,), (3,)),
        (("7",), (2,)),  # a label that looks like a number
        (("straße",), (4,)),
        (("dog", "dog"), (1, 1)),
    ],
)
def test_a_class_is_an_id_or_a_label(wanted: tuple[int | str, ...], class_ids: tuple[int, ...], card: Card) -> None:
    assert rule_of(Options(classes=wanted), card).classes == class_ids


@pytest.mark.parametrize("wanted", [5, -1, 7, "5", "-1", "", " dog", "DOG", "1.0", "9" * 5000, "٣" * 50])
def test_a_class_that_is_not_there_is_refused(wanted: int | str, card: Card) -> None:
    with pytest.raises(InvalidOptions, match=r"classes: model echo has no class .*it has 0 to 4, cat, dog") as told:
        rule_of(Options(classes=(0, wanted)), card)
    assert len(str(told.value)) < 250


def test_a_slip_is_told_what_it_may_have_meant(card: Card) -> None:
    with pytest.raises(InvalidOptions, match=r"no class dogg; did you mean dog\? it has"):
        rule_of(Options(classes=("dogg",)), card)


def test_of_many_labels_a_few_are_named(card_of: Callable[..., Card]) -> None:
    many = card_of(labels=tuple(f"kind{number}" for number in range(80)))
    with pytest.raises(InvalidOptions, match=r"it has 0 to 79, kind0, .*kind9…\.$"):
        rule_of(Options(classes=("horse",)), many)
