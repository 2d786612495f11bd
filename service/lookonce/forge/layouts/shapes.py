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
    return _rows_deeper_than(facts, 5) and facts.is_anchored_points(facts.shapes[0][1]) and not finished_rows(facts)


def point_rows(facts: Facts) -> bool:
    return _rows_deeper_than(facts, 5) and facts.is_points(facts.shapes[0][1]) and not finished_rows(facts)


def finished_rows(facts: Facts) -> bool:
    """The sixth column numbers the class; a sixth column of scores belongs to another layout."""
    if not _rows_deeper_than(facts, 5) or not facts.whole_classes:
        return False
    return facts.shapes[0][2] == 6 and facts.shapes[0][1] <= FINISHED_AT_MOST


def query_rows(facts: Facts) -> bool:
    """Each row a query; not what could be columns over the points of the picture."""
    if not _rows_deeper_than(facts, 4) or finished_rows(facts) or columns(facts):
        return False
    return facts.shapes[0][1] <= FINISHED_AT_MOST


def anchored_grids(facts: Facts) -> bool:
    if len(facts.shapes) != 3 or any(len(shape) != 5 for shape in facts.shapes):
        return False
    depth = facts.shapes[0][4]
    alike = all((shape[1], shape[4]) == (3, depth) for shape in facts.shapes)
    return alike and depth > 5 and _are_grids(facts)


def darknet_grids(count: int) -> Looks:
    def looks(facts: Facts) -> bool:
        if len(facts.shapes) != count or any(len(shape) != 4 for shape in facts.shapes):
            return False
        depth = facts.shapes[0][1]
        alike = all(shape[1] == depth for shape in facts.shapes)
        return alike and depth > 15 and depth % 3 == 0 and _are_grids(facts)

    return looks


def one_grid(facts: Facts) -> bool:
    if len(facts.shapes) != 1 or len(facts.shapes[0]) != 4:
        return False
    _, rows, cols, depth = facts.shapes[0]
    boxes = depth - facts.labels
    return rows == cols and depth > 5 and (not facts.labels or (boxes > 0 and boxes % 5 == 0))


def named(**sides: int) -> Looks:
    """The outputs are called just so, in whatever order, have so many sides and speak of the same rows."""

    def looks(facts: Facts) -> bool:
        shapes = dict(zip(facts.names, facts.shapes, strict=True))
        if {name: len(shape) for name, shape in shapes.items()} != sides:
            return False
        rows = {shape[1] for name, shape in shapes.items() if not name.startswith("num_")}
        return len(rows) == 1 and all(shape[2] == 4 for name, shape in shapes.items() if name.endswith("boxes"))

    return looks


def boxes_and_confidences(facts: Facts) -> bool:
    return _are_boxes_and_scores(facts) and len(facts.shapes[0]) == 4


def nms_inputs(box_coding: int) -> Looks:
    return lambda facts: facts.box_coding == box_coding and _are_boxes_and_scores(facts)


def _are_boxes_and_scores(facts: Facts) -> bool:
    if len(facts.shapes) != 2 or len(facts.shapes[1]) != 3:
        return False
    boxes, scores = facts.shapes
    return boxes[1:] in ((scores[1], 1, 4), (scores[1], 4))


def _are_grids(facts: Facts) -> bool:
    """Grids of rows and columns, channels last or first, each of another stride."""
    grids = [shape[2:4] for shape in facts.shapes]
    return len(set(grids)) == len(grids) and all(facts.is_grid(*grid) for grid in grids)


def _rows_deeper_than(facts: Facts, depth: int) -> bool:
    return len(facts.shapes) == 1 and len(facts.shapes[0]) == 3 and facts.shapes[0][2] > depth


def _is_columns(facts: Facts, place: int) -> bool:
    shape = facts.shapes[place]
    return len(shape) == 3 and shape[1] > 4 and facts.is_points(shape[2])
