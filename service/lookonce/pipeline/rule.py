"""What a caller's options mean for one model."""

from difflib import get_close_matches

from lookonce.card import Card
from lookonce.errors import InvalidOptions
from lookonce.pipeline.request import Options
from lookonce.vision.nms import Suppression


def rule_of(options: Options, card: Card) -> Suppression:
    return Suppression(
        confidence=card.confidence if options.confidence is None else options.confidence,
        iou=card.iou if options.iou is None else options.iou,
        max_detections=options.max_detections,
        class_agnostic=options.class_agnostic,
        needed=card.needs_nms,
        classes=_class_ids(options.classes, card),
        soft=options.soft,
    )


def _class_ids(wanted: tuple[int | str, ...], card: Card) -> tuple[int, ...]:
    """Of ids, also in digits, and of labels; of two classes with one label it is the first."""
    if not wanted:
        return ()
    known: dict[int | str, int] = dict(enumerate(range(len(card.labels))))
    known |= {str(class_id): class_id for class_id in known.values()}
    known |= {label: class_id for class_id, label in reversed(tuple(enumerate(card.labels)))}
    for each in wanted:
        if each not in known:
            near = _classes_there_are(f"{each!s:.50}", card)
            raise InvalidOptions(f"classes: model {card.name} has no class {each!s:.50}; {near}")
    return tuple(known[each] for each in wanted)


def _classes_there_are(wanted: str, card: Card) -> str:
    near = get_close_matches(wanted, card.labels, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}it has 0 to {len(card.labels) - 1}, {', '.join(card.labels[:10])}{'…' * (len(card.labels) > 10)}."
