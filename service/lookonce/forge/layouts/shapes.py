"""What each layout looks like from outside: the shape alone, which seldom decides."""

from collections.abc import Callable
from typing import TypeAlias

from lookonce.forge.layouts.facts import Facts

Looks: TypeAlias = Callable[[Facts], bool]
FINISHED_AT_MOST = 1000


def columns(facts: Facts) -> bool:
    return len(facts.shapes) == 1 and _is_columns(facts, 0)


def two_columns(facts: Facts) -> bool:
    return len(facts.shapes) == 2 and facts.shapes[0] == facts.shapes[1] and _is_columns(facts, 0)


def anchored_rows(facts: Facts) -> bool:
    return _rows_deeper_than(facts, 5) and facts.is_anchored_points(facts.shapes[0][1])


def point_rows(facts: Facts) -> bool:
    return _rows_deeper_than(facts, 5) and facts.is_points(facts.shapes[0][1])


def finished_rows(facts: Facts) -> bool:
    return _rows_deeper_than(facts, 5) and facts.shapes[0][2] == 6 and facts.shapes[0][1] <= FINISHED_AT_MOST


def query_rows(facts: Facts) -> bool:
    return _rows_deeper_than(facts, 4) and facts.shapes[0][1] <= FINISHED_AT_MOST and not finished_rows(facts)


def anchored_grids(facts: Facts) -> bool:
    return len(facts.shapes) == 3 and all(
        len(shape) == 5 and shape[1] == 3 and shape[4] > 5 and facts.is_grid(shape[2], shape[3])
        for shape in facts.shapes
    )


def darknet_grids(count: int) -> Looks:
    return lambda facts: (
        len(facts.shapes) == count
        and all(
            len(shape) == 4 and shape[1] % 3 == 0 and shape[1] > 15 and facts.is_grid(shape[2], shape[3])
            for shape in facts.shapes
        )
    )


def one_grid(facts: Facts) -> bool:
    if len(facts.shapes) != 1 or len(facts.shapes[0]) != 4:
        return False
    _, rows, cols, depth = facts.shapes[0]
    boxes = depth - facts.labels
    return rows == cols and depth > 5 and (not facts.labels or (boxes > 0 and boxes % 5 == 0))


def named(*names: str) -> Looks:
    """The outputs are called just so, in whatever order."""
    return lambda facts: sorted(facts.names) == sorted(names)


def boxes_and_confidences(facts: Facts) -> bool:
    if len(facts.shapes) != 2:
        return False
    boxes, scores = facts.shapes
    return len(boxes) == 4 and boxes[2:] == (1, 4) and len(scores) == 3 and scores[1] == boxes[1]


def nms_inputs(box_coding: int) -> Looks:
    return lambda facts: facts.box_coding == box_coding


def _rows_deeper_than(facts: Facts, depth: int) -> bool:
    return len(facts.shapes) == 1 and len(facts.shapes[0]) == 3 and facts.shapes[0][2] > depth


def _is_columns(facts: Facts, place: int) -> bool:
    shape = facts.shapes[place]
    return len(shape) == 3 and shape[1] > 4 and facts.is_points(shape[2])
