"""The tables of a run: once as text, for the terminal and for Markdown alike."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import wire
from figures import Bar
from results import Load, Results
from stages import ANY, DECODE

WAYS, SIZES = "ways", "sizes"
LOAD = "callers", "images/s", "CPU ms", "p50 ms", "p99 ms"
MET, MISSED = "met", "missed"


@dataclass(frozen=True, slots=True)
class Sheet:
    """`words` columns, from the left, hold no numbers; the one that `yields` may be folded where it is narrow."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    yields: str = ""


def sheets(results: Results) -> list[Sheet]:
    """Whatever the run holds; a part that it left out has no table."""
    made = (bars(results), *ways(results), sizes(results), stages(results), others(results))
    return [sheet for sheet in (*made, over_the_wire(results), scaled(results)) if sheet.rows]


def bars(results: Results) -> Sheet:
    columns = "bar", "verdict", "limit", "aim", "median", "lowest", "highest"
    return Sheet("Bars", columns, tuple(map(_bar, results.bars)), words=2, yields="bar")


def _bar(bar: Bar) -> tuple[str, ...]:
    sign = "≥" if bar.at_least else "≤"
    aim = f"{sign} {bar.aim:g}" if bar.aim is not None else ""
    spread = (_short(each) for each in (bar.median, min(bar.ratios), max(bar.ratios)))
    return bar.name, MET if bar.is_met else MISSED, f"{sign} {bar.limit:g}", aim, *spread


def ways(results: Results) -> Iterator[Sheet]:
    loads = results.of(WAYS)
    for subject in dict.fromkeys(load.subject for load in loads):
        rows = [(load.way, *_load(load)) for load in loads if load.subject == subject]
        yield Sheet(f"Ways in, over {subject} to Triton, CPU ms an image", ("way", *LOAD), tuple(_once(rows, 1)))


def sizes(results: Results) -> Sheet:
    decode_ms = {stage.picture: stage.cpu_us / 1e3 for stage in results.stages if stage.name == DECODE}
    rows = [
        (load.picture, load.subject, *_load(load), _over(load.cpu_ms, decode_ms.get(load.picture)))
        for load in by_picture(results.of(SIZES))
    ]
    columns = "picture", "over", *LOAD, "÷ decode"
    return Sheet("Sizes of pictures, CPU ms an image", columns, tuple(_once(rows, 1)), 2, "over")


def by_picture(loads: Sequence[Load]) -> list[Load]:
    """What was asked about one picture, each after the other."""
    pictures = list(dict.fromkeys(load.picture for load in loads))
    return sorted(loads, key=lambda load: pictures.index(load.picture))


def _over(cpu_ms: float, decode_ms: float | None) -> str:
    return "" if decode_ms is None else f"{cpu_ms / decode_ms:.2f}"


def stages(results: Results) -> Sheet:
    pictures = [name for name in dict.fromkeys(stage.picture for stage in results.stages) if name != ANY]
    found = {(stage.name, stage.picture): stage.cpu_us for stage in results.stages}

    def cell(name: str, picture: str) -> str:
        cpu_us = found.get((name, picture), found.get((name, ANY)))
        return "" if cpu_us is None else f"{cpu_us:.0f}"

    names = dict.fromkeys(stage.name for stage in results.stages)
    rows = tuple((name, *(cell(name, picture) for picture in pictures)) for name in names)
    return Sheet("Steps by themselves, CPU µs", ("step", *pictures), rows)


def others(results: Results) -> Sheet:
    loads = [load for load in results.loads if load.section not in {WAYS, SIZES}]
    rows = [(load.section, f"{load.subject}, {load.way}, {load.picture}", *_load(load)) for load in loads]
    return Sheet("Loads of the bars, CPU ms an image", ("section", "who", *LOAD), tuple(_once(rows, 1)), 2, "who")


def over_the_wire(results: Results) -> Sheet:
    columns = "contract", "images/s", "÷ usual", "client CPU ms", "÷ usual"
    contracts = (wire.USUAL, wire.OURS, wire.ADAPTER) if results.wire else ()
    rows = tuple((contract, *_contract(results.wire, contract)) for contract in contracts)
    return Sheet("The wire to Triton", columns, rows)


def _contract(found: Mapping[str, object], contract: str) -> Iterator[str]:
    for figure in ("images_per_s", "client_cpu_ms"):
        yield _short(statistics.median(wire.figures_of(found, contract, figure)))
        yield _short(statistics.median(wire.ratios(found, contract, figure)))


def scaled(results: Results) -> Sheet:
    columns = "", *(str(each["picture"]) for each in results.scaled)
    rows = tuple(
        (title, *(format(each[field], form) for each in results.scaled)) for field, (title, form) in SCALED.items()
    )
    return Sheet("Scaled decode against exact, sample model", columns, rows if results.scaled else ())


def _load(load: Load) -> tuple[str, ...]:
    figures = f"{load.images_per_s:.0f}", f"{load.cpu_ms:.2f}", f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}"
    return str(load.callers), *figures


def _once(rows: Iterable[Sequence[str]], columns: int) -> Iterator[tuple[str, ...]]:
    """The first columns only where they change."""
    before: Sequence[str] = ()
    for row in rows:
        same = row[:columns] == before[:columns]
        yield ("",) * columns + tuple(row[columns:]) if same else tuple(row)
        before = row


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


# Of each number of a scaled decode's finding: what it is called, and how it is written.
SCALED: Mapping[str, tuple[str, str]] = {
    "pictures": ("pictures", "d"),
    "detections": ("detections, exact", "d"),
    "matched": ("found by both, same class, IoU ≥ 0.5", ".1%"),
    "mean_iou": ("their IoU, mean", ".4f"),
    "worst_iou": ("their IoU, worst", ".4f"),
    "mean_shift_px": ("farthest edge's shift, mean, px of the picture", ".2f"),
    "worst_shift_px": ("farthest edge's shift, worst", ".1f"),
    "exact_cpu_ms": ("CPU until the model, exact, ms", ".2f"),
    "scaled_cpu_ms": ("CPU until the model, scaled, ms", ".2f"),
    "cpu_ratio": ("scaled ÷ exact", ".2f"),
}
