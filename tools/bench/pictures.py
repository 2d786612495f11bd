"""A run in three pictures: where the CPU goes, how long callers wait, and how each bar stands."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from figures import Bar
from results import Load, Results
from stages import ANY, DECODE, ENCODE, FEW, FINISH, HEADER, LETTERBOX, rpc_stage
from tables import SIZES, WAYS, by_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID, FLOOR = "#1f2933", "#66727f", "#e4e7eb", "#b8c2cc"
GOOD, BAD = "#2f9e6e", "#d64545"
WAY_COLOURS = "#0967d2", "#e07a1f", "#2f9e6e", "#8e5cc4", "#c2407c", "#5d6a78"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 11, "axes.edgecolor": GRID, "axes.labelcolor": QUIET,
    "axes.titlecolor": INK, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlepad": 12, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "xtick.color": QUIET, "ytick.color": INK, "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0,
    "ytick.minor.size": 0, "text.color": INK, "grid.color": GRID, "legend.frameon": False, "legend.fontsize": 10.5,
}  # fmt: skip
OURS, CALL, REST = "everything else: ours", "inference call", "HTTP, threads, log, busy cores"
STEPS = {HEADER: "header", LETTERBOX: "letterbox", CALL: CALL, FINISH[FEW]: "NMS", ENCODE: "JSON"}
COLOURS = {
    DECODE: FLOOR, OURS: "#0967d2", "header": "#0b3d6e", "letterbox": "#1d7fd1", CALL: "#e07a1f", "NMS": "#8e5cc4",
    "JSON": "#c2407c", REST: "#5aa886",
}  # fmt: skip
WORST, BEST = 1 / 2.5, 6.0
"""Beyond these a ratio is drawn at the edge."""

ASIDE = 1.06
"""How far apart the ways' points stand, so that equal ones are seen."""

Draw: TypeAlias = Callable[["Figure", Results], None]
Parts: TypeAlias = Mapping[str, float]


def draw(results: Results, folder: Path) -> None:
    """Write `stages.png`, `latency.png` and `bars.png`; one that the run holds nothing for is removed."""
    from matplotlib import rc_context  # noqa: PLC0415  a run that only prints does without
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    sizes = results.of(SIZES) if results.stages else []
    wanted: Mapping[str, tuple[object, float, Draw]] = {
        "stages": (sizes, 1.9 + 0.42 * len(sizes), _stages),
        "latency": (results.of(WAYS), 1.1 + 3.3 * len(_subjects(results)), _latency),
        "bars": (results.bars, 1.7 + 0.46 * len(results.bars), _bars),
    }
    for name, (there, height, onto) in wanted.items():
        if not there:
            (folder / f"{name}.png").unlink(missing_ok=True)
            continue
        with rc_context(STYLE):
            figure = Figure(figsize=(12, height), dpi=120, facecolor="white")
            FigureCanvasAgg(figure)
            figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
            onto(figure, results)
            figure.savefig(folder / f"{name}.png")


def _stages(figure: "Figure", results: Results) -> None:
    """The whole beside its decode, and what is ours by itself, for of a large picture that is little."""
    loads = by_picture(results.of(SIZES))
    names = [f"{load.picture}, {load.subject}" for load in loads]
    ours = [_ours(load, results) for load in loads]
    whole = [_halves(load, results) for load in loads]
    left, right = figure.subplots(1, 2, sharey=True)
    _stack(left, names, whole)
    _stack(right, names, ours)
    left.set_title("Gateway CPU of one request", pad=52)
    right.set_title("Of it what is not the decode", pad=52)
    left.invert_yaxis()
    figure.supxlabel("milliseconds of CPU, all threads", fontsize=11, color=QUIET)


def _halves(load: Load, results: Results) -> Parts:
    decode_ms = min(load.cpu_ms, _step_ms(results, DECODE, load.picture))
    return {DECODE: decode_ms, OURS: load.cpu_ms - decode_ms}


def _ours(load: Load, results: Results) -> Parts:
    """The steps as they cost by themselves; what they leave is around them, and what they cost more on busy cores."""
    found = {
        name: _step_ms(results, rpc_stage(load.subject) if step == CALL else step, load.picture)
        for step, name in STEPS.items()
    }
    rest = load.cpu_ms - _step_ms(results, DECODE, load.picture) - sum(found.values())
    return found | {REST: max(0.0, rest)}


def _step_ms(results: Results, step: str, picture: str) -> float:
    return next(
        (each.cpu_us / 1e3 for each in results.stages if each.name == step and each.picture in {picture, ANY}), 0.0
    )


def _stack(axes: "Axes", names: Sequence[str], stacks: Sequence[Parts]) -> None:
    begun = [0.0] * len(stacks)
    for part in stacks[0]:
        widths = [each[part] for each in stacks]
        axes.barh(names, widths, left=begun, height=0.66, color=COLOURS[part], label=part)
        begun = [left + width for left, width in zip(begun, widths, strict=True)]
    for place, end in enumerate(begun):
        axes.annotate(f"{end:.2f}", (end, place), (5, 0), textcoords="offset points", va="center", weight="bold")
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3, columnspacing=1.2, handlelength=1.0)


def _subjects(results: Results) -> list[str]:
    return list(dict.fromkeys(load.subject for load in results.of(WAYS)))


def _latency(figure: "Figure", results: Results) -> None:
    subjects = _subjects(results)
    rows = figure.subplots(len(subjects), 2, sharex=True, sharey=True, squeeze=False)
    for subject, row in zip(subjects, rows, strict=True):
        loads = [load for load in results.of(WAYS) if load.subject == subject]
        for axes, percentile in zip(row, ("p50", "p99"), strict=True):
            _waits(axes, loads, percentile)
            axes.set_title(f"{percentile}, over {subject} to Triton")
        row[0].set_ylabel("milliseconds")
    for axes in rows[-1]:
        axes.set_xlabel("callers at once")
    lines, names = rows[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper left", ncols=len(names))


def _waits(axes: "Axes", loads: Sequence[Load], percentile: str) -> None:
    ways = list(dict.fromkeys(load.way for load in loads))
    for place, way in enumerate(ways):
        aside = ASIDE ** (place - (len(ways) - 1) / 2)
        line = sorted((load.callers * aside, getattr(load, f"{percentile}_ms")) for load in loads if load.way == way)
        axes.plot(*zip(*line, strict=True), "o-", color=WAY_COLOURS[place], label=way, linewidth=1.4, markersize=5)
    callers = sorted({load.callers for load in loads})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(callers, [str(each) for each in callers])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(_ones_and_threes())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y")


def _ones_and_threes() -> Any:  # noqa: ANN401  matplotlib is only imported where it draws
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    return LogLocator(subs=(1, 3))


def _bars(figure: "Figure", results: Results) -> None:
    """On one scale: how many times better than its limit each ratio is."""
    axes = figure.subplots()
    for row, bar in enumerate(results.bars):
        colour = GOOD if bar.is_met else BAD
        axes.plot(
            [_better(bar, each) for each in bar.ratios], [row] * len(bar.ratios), "o", color=colour, alpha=0.4, ms=7
        )
        axes.plot(_better(bar, bar.median), row, "|", color=colour, markersize=17, markeredgewidth=3)
        if bar.aim is not None:
            axes.plot(_better(bar, bar.aim), row, "D", color="none", markeredgecolor=INK, markersize=7)
        axes.annotate(
            _said(bar),
            (1.0, row),
            (10, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.axvspan(WORST / 2, 1, color="#fbeaea", zorder=0, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(WORST / 1.1, BEST * 1.1)
    axes.set_xticks([0.5, 1, 2, 4], ["half as good", "the limit", "2 × better", "4 × better"])
    axes.minorticks_off()
    axes.set_yticks(range(len(results.bars)), [bar.name for bar in results.bars])
    axes.set_ylim(len(results.bars) - 0.4, -0.6)
    axes.grid()
    figure.suptitle(
        "How far from its limit each ratio is: pairs as dots, their median as a stroke, the aim as a diamond",
        fontsize=12, fontweight="bold", x=0.01, ha="left",
    )  # fmt: skip


def _better(bar: Bar, ratio: float) -> float:
    """Above 1 within the limit; a cost of nothing or less is as good as can be drawn."""
    if bar.at_least:
        return min(max(ratio / bar.limit, WORST), BEST)
    return min(max(bar.limit / ratio, WORST), BEST) if ratio > 0 else BEST


def _said(bar: Bar) -> str:
    return (
        f"{bar.median:.3g} {'≥' if bar.at_least else '≤'} {bar.limit:g}"
        if bar.is_met
        else f"{bar.median:.3g}, missed: {'≥' if bar.at_least else '≤'} {bar.limit:g}"
    )
