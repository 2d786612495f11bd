"""Whether a lower precision finds what full precision finds: detection by detection, on pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lookonce.card import Agreement, Precision, Verdict
from lookonce.errors import ModelRefused
from lookonce.forge.progress import Report, unheard
from lookonce.forge.running import Candidates, Images, Runner
from lookonce.vision.boxes import iou_matrix
from lookonce.vision.nms import Suppression, suppress

CONFIDENCE, SUPPRESSION_IOU = 0.25, 0.7
LEAST_IOU, MOST_SCORE_CHANGE = 0.9, 0.02
ENOUGH_DETECTIONS = 200
REQUIRED_SHARE = {Precision.FP16: 0.99, Precision.INT8: 0.95}

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pairing:
    """One picture's detections at full precision and at the lower one; `pairs` [M,2] are the rows that agree."""

    picture: int
    full: Candidates
    lower: Candidates
    pairs: Places

    @property
    def missing(self) -> Candidates:
        return np.delete(self.full, self.pairs[:, 0], axis=0)

    @property
    def extra(self) -> Candidates:
        return np.delete(self.lower, self.pairs[:, 1], axis=0)

    @property
    def shifts_px(self) -> NDArray[np.float32]:
        """How far the farthest edge of each agreeing box moved."""
        moved = np.abs(self.full[self.pairs[:, 0], :4] - self.lower[self.pairs[:, 1], :4])
        return np.asarray(moved.max(axis=1, initial=0), np.float32)

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores of the agreeing, full precision beside the lower: [M,2]."""
        return np.stack([self.full[self.pairs[:, 0], 4], self.lower[self.pairs[:, 1], 4]], axis=1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every picture's pairing, and what they come to."""

    precision: Precision
    pairings: tuple[Pairing, ...]
    agreement: Agreement

    @property
    def matched(self) -> int:
        return sum(len(pairing.pairs) for pairing in self.pairings)

    @property
    def missing(self) -> int:
        return sum(len(pairing.missing) for pairing in self.pairings)

    @property
    def extra(self) -> int:
        return sum(len(pairing.extra) for pairing in self.pairings)

    @property
    def on_the_edge(self) -> int:
        """Missing and extra ones whose score is so near the confidence limit that either answer is as good."""
        return sum(int(is_edge(rows).sum()) for one in self.pairings for rows in (one.missing, one.extra))


def compare(
    full: Runner, lower: Runner, pictures: Sequence[Images], rule: "Rule", report: Report = unheard
) -> Comparison:
    """Both graphs over letterboxed pictures [H,W,3]."""
    pairings = []
    for place, picture in enumerate(pictures):
        report(f"comparing {rule.precision} with fp32", place, len(pictures))
        pairings.append(rule.pair(place, full(picture[None])[0], lower(picture[None])[0]))
    report(f"comparing {rule.precision} with fp32", len(pictures), len(pictures))
    return rule.judge(pairings)


@dataclass(frozen=True, slots=True)
class Rule:
    """How detections are compared; `emulated` says that half precision ran on a CPU, which rounds otherwise."""

    precision: Precision
    needs_nms: bool = True
    emulated: bool = False

    def pair(self, picture: int, full: Candidates, lower: Candidates) -> Pairing:
        kept = Suppression(CONFIDENCE, SUPPRESSION_IOU, needed=self.needs_nms)
        detections = suppress(full, kept), suppress(lower, kept)
        return Pairing(picture, *detections, match(*detections))

    def judge(self, pairings: Iterable[Pairing]) -> Comparison:
        found = tuple(pairings)
        shifts_px = np.concatenate([np.zeros(0, np.float32), *(pairing.shifts_px for pairing in found)])
        matched, detections = len(shifts_px), sum(len(pairing.full) for pairing in found)
        either = sum(len(pairing.full) + len(pairing.lower) for pairing in found) - matched
        share = matched / either if either else 0.0
        agreement = Agreement(
            verdict=self._verdict(detections, share),
            share=share,
            detections=detections,
            pictures=len(found),
            mean_shift_px=float(shifts_px.mean()) if matched else 0.0,
            worst_shift_px=float(shifts_px.max(initial=0)),
            emulated=self.emulated,
        )
        return Comparison(self.precision, found, agreement)

    def _verdict(self, detections: int, share: float) -> Verdict:
        if detections < ENOUGH_DETECTIONS:
            return Verdict.INSUFFICIENT
        return Verdict.AGREES if share >= REQUIRED_SHARE[self.precision] else Verdict.DIFFERS


def match(full: Candidates, lower: Candidates) -> Places:
    """Pairs [M,2] of rows that agree, each row in one pair at most; the best overlaps pair first."""
    overlap = iou_matrix(full[:, :4], lower[:, :4])
    change = np.abs(full[:, None, 4].astype(np.float64) - lower[None, :, 4])
    agree = (full[:, None, 5] == lower[None, :, 5]) & (overlap >= LEAST_IOU) & (change <= MOST_SCORE_CHANGE)
    rows, columns = np.nonzero(agree)
    free_rows, free_columns = np.ones(len(full), bool), np.ones(len(lower), bool)
    pairs = []
    for best in np.lexsort((change[rows, columns], -overlap[rows, columns])):
        row, column = rows[best], columns[best]
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
    return np.array(pairs, np.intp).reshape(-1, 2)


def is_edge(rows: Candidates) -> NDArray[np.bool_]:
    return np.asarray(np.abs(rows[:, 4] - CONFIDENCE) < MOST_SCORE_CHANGE)


def gate(comparison: Comparison, *, accept: bool) -> Agreement:
    """The agreement as the card will carry it, or a refusal to publish."""
    agreement, needed = comparison.agreement, REQUIRED_SHARE[comparison.precision]
    either = comparison.matched + comparison.missing + comparison.extra
    if not either or agreement.share >= needed:
        return agreement
    if accept:
        return replace(agreement, accepted=True)
    advice = "" if agreement.verdict is Verdict.DIFFERS else " They are few: give pictures of your own with --images."
    raise ModelRefused(
        f"only {comparison.matched} of {either} detections agree between {comparison.precision} and fp32 "
        f"({agreement.share:.2%}, needed {needed:.0%}).{advice} "
        "Import it with --precision fp32, or publish it so with --accept."
    )
