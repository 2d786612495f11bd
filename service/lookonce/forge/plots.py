"""The verification as one picture: how far boxes moved, how scores changed, and what was found where."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookonce.card import Verdict
from lookonce.forge.agreement import CONFIDENCE, MOST_SCORE_CHANGE, REQUIRED_SHARE, Comparison, Pairing, is_edge
from lookonce.forge.running import Candidates, Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1f2933", "#7b8794", "#e4e7eb"
FULL, LOWER, MISSING, EXTRA, EDGE = "#0967d2", "#2f9e6e", "#d64545", "#e07a1f", "#9aa5b1"
VERDICT_COLOURS = {Verdict.AGREES: LOWER, Verdict.DIFFERS: MISSING, Verdict.INSUFFICIENT: EXTRA}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titleweight": "bold",
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "text.color": INK,
    "legend.frameon": False,
}


def draw_comparison(comparison: Comparison, pictures: Sequence[Images], name: str, path: Path) -> None:
    """Write the picture as a PNG; no display is needed."""
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(18, 6.2), dpi=110, facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(1, 4, width_ratios=(1, 1, 1.12, 1.12), wspace=0.2)
        figure.subplots_adjust(left=0.045, right=0.985, top=0.77, bottom=0.13)
        shift, score, *examples = (figure.add_subplot(grid[0, column]) for column in range(4))
        _draw_shifts(shift, comparison)
        _draw_scores(score, comparison)
        _draw_examples(examples, comparison, pictures)
        _head(figure, comparison, name)
        figure.savefig(path, format="png")


def verdict_text(comparison: Comparison) -> str:
    agreement, precision = comparison.agreement, comparison.precision.upper()
    found = f"{comparison.matched} of {comparison.matched + comparison.missing + comparison.extra} detections"
    return {
        Verdict.AGREES: f"{precision} agrees with FP32: {found} are the same ({agreement.share:.2%})",
        Verdict.DIFFERS: f"{precision} differs from FP32: only {found} are the same ({agreement.share:.2%})",
        Verdict.INSUFFICIENT: f"Too few detections to judge {precision}: FP32 finds {agreement.detections}; "
        "give pictures with --images",
    }[agreement.verdict]


def _head(figure: "Figure", comparison: Comparison, name: str) -> None:
    agreement = comparison.agreement
    ran = "half precision emulated on a CPU" if agreement.emulated else "run on a CPU"
    facts = (
        f"{name}  ·  {agreement.pictures} pictures  ·  {comparison.matched} agree, {comparison.missing} missing, "
        f"{comparison.extra} extra ({comparison.on_the_edge} of these at the confidence limit)  ·  "
        f"needed {REQUIRED_SHARE[comparison.precision]:.0%}  ·  {ran}"
    )
    colour = VERDICT_COLOURS[agreement.verdict]
    figure.text(0.045, 0.925, verdict_text(comparison), fontsize=17, fontweight="bold", color=colour)
    figure.text(0.045, 0.875, facts, fontsize=11, color=QUIET)


def _draw_shifts(axes: "Axes", comparison: Comparison) -> None:
    shifts_px = np.concatenate([np.zeros(0), *(pairing.shifts_px for pairing in comparison.pairings)])
    axes.set_title("How far boxes moved", pad=12)
    axes.set_xlabel("largest edge shift of a box (px of the network's input)")
    axes.set_ylabel("share of agreeing detections")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    if not len(shifts_px):
        axes.text(0.5, 0.5, "no detection agrees", transform=axes.transAxes, ha="center", color=QUIET)
        return
    smallest = 1e-4
    reached = np.sort(np.maximum(shifts_px, smallest))
    shares = np.arange(1, len(reached) + 1) / len(reached)
    axes.set_xscale("log")
    axes.set_xlim(smallest, max(2.0, reached[-1] * 2))
    axes.fill_between(reached, shares, step="post", color=FULL, alpha=0.12, linewidth=0)
    axes.step(reached, shares, where="post", color=FULL, linewidth=2)
    axes.xaxis.set_major_formatter(lambda value, _: "≤ 0.0001" if value <= smallest else f"{value:g}")
    axes.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
    _mark(axes, f"half of them move\nat most {np.median(shifts_px):.3g} px", (float(np.median(reached)), 0.5))
    _mark(axes, f"worst: {shifts_px.max():.3g} px", (float(reached[-1]), 1.0))


def _mark(axes: "Axes", words: str, place: tuple[float, float]) -> None:
    """A dot on the curve, its words on the side where there is room."""
    left, right = axes.get_xlim()
    is_left = place[0] < (left * right) ** 0.5
    offset, side = ((12, -9), "left") if is_left else ((-12, -20), "right")
    axes.plot(*place, "o", color=FULL, markersize=6, clip_on=False, zorder=3)
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.annotate(words, place, xytext=offset, textcoords="offset points", ha=side, va="center", bbox=white)


def _draw_scores(axes: "Axes", comparison: Comparison) -> None:
    axes.set_title("Scores, before and after", pad=12)
    axes.set_xlabel("score in FP32")
    axes.set_ylabel(f"score in {comparison.precision.upper()}")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    ticks, words = (0, CONFIDENCE, 0.5, 0.75, 1), ("none", str(CONFIDENCE), "0.5", "0.75", "1")
    axes.set_xticks(ticks, words)
    axes.set_yticks(ticks, words)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.axvline(CONFIDENCE, color=QUIET, linewidth=0.8, linestyle=":")
    axes.axhline(CONFIDENCE, color=QUIET, linewidth=0.8, linestyle=":")
    ends = np.array([0.0, 1.0])
    axes.fill_between(ends, ends - MOST_SCORE_CHANGE, ends + MOST_SCORE_CHANGE, color=GRID, alpha=0.8, linewidth=0)
    pairs = np.concatenate([np.zeros((0, 2)), *(pairing.scores for pairing in comparison.pairings)])
    missing = _rows(pairing.missing for pairing in comparison.pairings)
    extra = _rows(pairing.extra for pairing in comparison.pairings)
    nothing = np.zeros(len(missing)), np.zeros(len(extra))
    _dots(axes, (pairs[:, 0], pairs[:, 1]), LOWER, f"agree ({len(pairs)})")
    missed, added = is_edge(missing), is_edge(extra)
    _dots(axes, (missing[~missed, 4], nothing[0][~missed]), MISSING, f"missing ({(~missed).sum()})")
    _dots(axes, (nothing[1][~added], extra[~added, 4]), EXTRA, f"extra ({(~added).sum()})")
    edges = (
        np.concatenate([missing[missed, 4], nothing[1][added]]),
        np.concatenate([nothing[0][missed], extra[added, 4]]),
    )
    _dots(axes, edges, EDGE, f"at the limit of {CONFIDENCE} ({comparison.on_the_edge})")
    axes.legend(loc="lower right", fontsize=9.5, handletextpad=0.2, borderaxespad=0.8)


def _dots(axes: "Axes", places: tuple[NDArray[np.floating], NDArray[np.floating]], colour: str, label: str) -> None:
    axes.scatter(*places, s=26, color=colour, alpha=0.7, linewidths=0, label=label, clip_on=False, zorder=3)


def _rows(parts: Iterable[Candidates]) -> Candidates:
    return np.concatenate([np.zeros((0, 6), np.float32), *parts])


def _draw_examples(frames: Sequence["Axes"], comparison: Comparison, pictures: Sequence[Images]) -> None:
    chosen = sorted(comparison.pairings, key=_interest, reverse=True)[: len(frames)]
    for axes in frames:
        axes.set_axis_off()
        axes.set_anchor("N")
    for axes, pairing in zip(frames, chosen, strict=False):
        picture = pictures[pairing.picture]
        axes.imshow(picture)
        axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
        for rows, colour, style in ((pairing.full, FULL, "-"), (pairing.lower, LOWER, "--")):
            _draw_boxes(axes, rows, colour, style)
        _draw_boxes(axes, pairing.missing, MISSING, "-")
        _draw_boxes(axes, pairing.extra, EXTRA, "--")
        wrong = len(pairing.missing) + len(pairing.extra)
        axes.set_title(f"Picture {pairing.picture}: {_count(wrong, 'disagreement')}", pad=12)
    lower = comparison.precision.upper()
    words = ("FP32", FULL), (f"{lower}, dashed", LOWER), (f"missing in {lower}", MISSING), (f"extra in {lower}", EXTRA)
    for place, (word, colour) in enumerate(words):
        frames[place // 2].text(
            0.5 * (place % 2), -0.04, f"■ {word}", color=colour, transform=frames[place // 2].transAxes, va="top"
        )


def _interest(pairing: Pairing) -> tuple[int, int]:
    """The picture with the most disagreements, then with the most detections, tells most."""
    return len(pairing.missing) + len(pairing.extra), len(pairing.full)


def _draw_boxes(axes: "Axes", rows: Candidates, colour: str, style: str) -> None:
    for x1, y1, x2, y2 in rows[:, :4]:
        axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], style, color=colour, linewidth=1.6)


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
