"""The served graph at FP32 against the numpy reference on the untouched file, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from lookonce.card import INPUT, Parity
from lookonce.errors import ParityBroken
from lookonce.forge.progress import Report, unheard
from lookonce.forge.recognise import Reading
from lookonce.forge.reference import Reference
from lookonce.forge.running import Candidates, Execution, Images, Runner
from lookonce.forge.surgery import revealed
from lookonce.vision.heads import Decoded, top_candidates

MOST_BOX_PX, MOST_SCORE = 0.01, 1e-5
SCORE_NOISE = 1e-6
"""Rows whose scores lie this close may stand in either order: their sums were rounded in another order."""
MOST_CUT_SHARE = 0.01
"""Of a picture's rows, how many may fall on either side of the last place because they tie for it."""
EMPTY = -1
MORE_PICTURES = 2
"""Of noise, where no row scored above 0 on the pictures given."""
HALF_STEP, HALF_ALIKE = 2e-3, 0.98
"""How far half-precision rows may lie from the source's, in shares of their reach, and how many must lie so near."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of the reference [6] and the served row nearest to it."""

    row: int
    reference: NDArray[np.float32]
    served: NDArray[np.float32]

    @property
    def box_px(self) -> float:
        return float(np.abs(self.reference[:4] - self.served[:4]).max())

    @property
    def score(self) -> float:
        return float(abs(self.reference[4] - self.served[4]))

    def __str__(self) -> str:
        x1, y1, x2, y2, score, class_id = self.reference.tolist()
        return (
            f"row {self.row} of the reference is class {class_id:.0f} at [{x1:.2f} {y1:.2f} {x2:.2f} {y2:.2f}] "
            f"with score {score:.6f}; the nearest served row is class {self.served[5]:.0f}, {self.box_px:.4g} px and "
            f"{self.score:.2g} of score away"
        )


@dataclass(frozen=True, slots=True)
class RowPairs:
    """Which row of the reference is which row of the served answer, and the rows that found none."""

    pairs: NDArray[np.intp]
    unpaired: tuple[NDArray[np.intp], NDArray[np.intp]]


def check_parity(reference: Runner, served: Runner, pictures: Sequence[Images], report: Report = unheard) -> Parity:
    """Both over letterboxed pictures [H,W,3], one at a time. Raises ParityBroken, naming the worst row."""
    found = _over(reference, served, pictures, report)
    if found.rows or not len(pictures):
        return found
    noise = np.random.default_rng(2).integers(0, 256, (MORE_PICTURES, *pictures[0].shape), np.uint8)
    more = _over(reference, served, list(noise), report)
    worst = max(found.worst_box_px, more.worst_box_px), max(found.worst_score, more.worst_score)
    return Parity(len(pictures) + MORE_PICTURES, *worst, more.rows)


def _over(reference: Runner, served: Runner, pictures: Sequence[Images], report: Report) -> Parity:
    worst_box_px, worst_score, rows = 0.0, 0.0, 0
    for place, picture in enumerate(pictures):
        report("checking parity", place, len(pictures))
        images = picture[None]
        expected = reference(images)[0]
        box_px, score = compare_rows(expected, served(images)[0], f"picture {place}")
        worst_box_px, worst_score = max(worst_box_px, box_px), max(worst_score, score)
        rows += int((expected[:, 4] > 0).sum())
    report("checking parity", len(pictures), len(pictures))
    return Parity(len(pictures), worst_box_px, worst_score, rows)


def compare_rows(reference: Candidates, served: Candidates, picture: str) -> tuple[float, float]:
    """The worst differences between two answers [K,6], in px and in score; ParityBroken where they are too much."""
    _check_sound(reference, served, picture)
    found = pair_rows(reference, served)
    allowed = MOST_CUT_SHARE * len(reference)
    open_rows = np.concatenate(
        [_untied(rows, answer) for rows, answer in zip(found.unpaired, (reference, served), strict=True)]
    )
    if len(open_rows) or max(map(len, found.unpaired)) > allowed:
        raise ParityBroken(_story(reference, served, found, picture))
    first, second = reference[found.pairs[:, 0]], served[found.pairs[:, 1]]
    box_px = np.abs(first[:, :4] - second[:, :4])[first[:, 5] != EMPTY]
    return float(box_px.max(initial=0)), float(np.abs(first[:, 4] - second[:, 4]).max(initial=0))


def doubt_of(parity: Parity | None) -> str:
    """What to say of a comparison that compared nothing; empty where it did."""
    if parity is None or parity.rows != 0:
        return ""
    return (
        f"no row scored above 0 on {parity.pictures} pictures, so parity proves nothing; "
        "give pictures of your own with --images."
    )


def is_half(reading: Reading) -> bool:
    """Whether half-precision tensors enter or leave the source; a CPU rounds them where each graph has its casts."""
    probed = reading.probed
    kinds = {value.type.tensor_type.elem_type for value in probed.model.graph.output}
    return probed.picture.kind == "float16" or TensorProto.FLOAT16 in kinds


class OneRun:
    """A served graph of a half-precision source: its decode part is held to the reference on the tensors it read."""

    def __init__(self, reading: Reading, served: ModelProto) -> None:
        self._reading, self._source = reading, Reference(reading)
        self._run = Execution(revealed(served, reading), literal=True)

    def served(self, images: Images) -> Candidates:
        candidates: Candidates = self._run({INPUT: images})[0]
        return candidates

    def reference(self, images: Images) -> Candidates:
        """The numpy decode of that run's tensors, once they are known to be the untouched source's."""
        candidates, *raw = self._run({INPUT: images})
        found = self._reading.layout.decode(raw, self._reading.spec)
        _check_half(self._reading, self._source.decoded(images[0]), found)
        return top_candidates(found, candidates.shape[1])


def _check_half(reading: Reading, source: Decoded, served: Decoded) -> None:
    """Rows that the source ranked itself may change places; all others stand in place."""
    rows, others = _rows(source), _rows(served)
    if not reading.layout.needs_nms:
        rows, others = rows[:, None], others[None]
    allowed = HALF_STEP * np.array([np.abs(rows[..., :4]).max(initial=0)] * 4 + [1])
    near = (np.abs(rows - others)[..., :5] <= allowed).all(axis=-1).reshape(len(rows), -1).any(axis=1)
    if near.mean() < HALF_ALIKE:
        raise ParityBroken(
            f"{(~near).sum()} of {len(near)} rows of the served graph lie farther from the half-precision model "
            f"it came from than rounding explains ({HALF_STEP:.1%}); export it in full precision."
        )


def _rows(decoded: Decoded) -> Candidates:
    """Every row of one picture, [A,6], in the order the source gave them."""
    parts = decoded.boxes_xyxy[0], decoded.scores[0, :, None], decoded.class_ids[0, :, None]
    return np.concatenate(parts, axis=1).astype(np.float32)


def pair_rows(reference: Candidates, served: Candidates) -> RowPairs:
    """Rows in the same place first; then, among the rest, rows of the same class, score and box wherever they stand."""
    in_place = np.flatnonzero(_agree(reference, served))
    rest = np.setdiff1d(np.arange(len(reference)), in_place)
    swapped, left, right = list[tuple[int, int]](), list[int](), set(rest.tolist())
    for row in rest.tolist():
        columns = np.array(sorted(right), np.intp)
        fitting = columns[_agree(reference[row], served[columns])]
        if not len(fitting):
            left.append(row)
            continue
        column = int(fitting[np.abs(served[fitting, :4] - reference[row, :4]).max(axis=1).argmin()])
        right.remove(column)
        swapped.append((row, column))
    pairs = np.concatenate([np.stack([in_place, in_place], 1), np.array(swapped, np.intp).reshape(-1, 2)])
    return RowPairs(pairs, (np.array(left, np.intp), np.array(sorted(right), np.intp)))


def _agree(first: Candidates, second: Candidates) -> NDArray[np.bool_]:
    """Row by row: same class, and box and score within the tolerances; a box of an empty row means nothing."""
    box_px = np.abs(first[..., :4] - second[..., :4]).max(axis=-1)
    is_empty = (first[..., 5] == EMPTY) & (second[..., 5] == EMPTY)
    close = (box_px <= MOST_BOX_PX) | is_empty
    agreeing: NDArray[np.bool_] = (
        close & (np.abs(first[..., 4] - second[..., 4]) <= MOST_SCORE) & (first[..., 5] == second[..., 5])
    )
    return agreeing


def _untied(rows: NDArray[np.intp], answer: Candidates) -> NDArray[np.intp]:
    """Rows that do not merely tie with the last one for the last place."""
    return rows[answer[rows, 4] > answer[-1, 4] + SCORE_NOISE] if len(rows) else rows


def _check_sound(reference: Candidates, served: Candidates, picture: str) -> None:
    if reference.shape != served.shape:
        raise ParityBroken(
            f"on {picture} the served graph answers {list(served.shape)} and the reference {list(reference.shape)}; "
            "the layout does not fit this model, name another with --layout."
        )
    for whose, answer in (("the served graph", served), ("the reference", reference)):
        if not np.isfinite(answer).all():
            row = int(np.flatnonzero(~np.isfinite(answer).all(axis=1))[0])
            raise ParityBroken(
                f"on {picture} {whose} answers something that is no number in row {row}; "
                "the file or its declared layout is broken, export the model again."
            )


def _story(reference: Candidates, served: Candidates, found: RowPairs, picture: str) -> str:
    left, right = found.unpaired
    nearest = [_nearest(reference, served, int(row), right) for row in left]
    worst = max(
        nearest, key=lambda one: (one.reference[4] >= MOST_SCORE, one.box_px / MOST_BOX_PX + one.score / MOST_SCORE)
    )
    return (
        f"the served graph does not agree with the model it came from: on {picture} {len(left)} of {len(reference)} "
        f"rows differ by more than {MOST_BOX_PX} px or {MOST_SCORE:g} of score; {worst}. "
        "If the layout was named with --layout, name another; else please report this file."
    )


def _nearest(reference: Candidates, served: Candidates, row: int, columns: NDArray[np.intp]) -> Difference:
    change = np.abs(served[columns] - reference[row])
    distance = change[:, :4].max(axis=1) / MOST_BOX_PX + change[:, 4] / MOST_SCORE + 1e6 * change[:, 5]
    return Difference(row, reference[row], served[columns[distance.argmin()]])
