"""A run of the bench as it is kept: what `results.json` holds, and what tables and pictures are made of."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from bed import BenchFailed
from figures import Bar, Findings, Stage, Steady

FILE = "results.json"
KEY = attrgetter("section", "subject", "way", "picture", "callers")


@dataclass(frozen=True, slots=True)
class Load:
    """A steady load; where it was repeated, the medians of its rounds. A gateway is known by how its tensors travel."""

    section: str
    subject: str
    way: str
    picture: str
    callers: int
    rounds: int
    images_per_s: float
    cpu_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Results:
    machine: Mapping[str, object]
    stages: Sequence[Stage]
    loads: Sequence[Load]
    bars: Sequence[Bar]
    wire: Mapping[str, object]
    scaled: Sequence[Mapping[str, object]]

    def of(self, section: str) -> list[Load]:
        return [load for load in self.loads if load.section == section]


def kept(findings: Findings) -> Results:
    loads = tuple(_loads(findings.loads))
    return Results(findings.machine, findings.stages, loads, findings.bars, findings.wire, findings.scaled)


def save(results: Results, folder: Path) -> None:
    facts = asdict(results)
    facts["bars"] = [asdict(bar) | {"median": bar.median, "is_met": bar.is_met} for bar in results.bars]
    (folder / FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def load(folder: Path) -> Results:
    try:
        facts = json.loads((folder / FILE).read_text())
    except OSError as error:
        raise BenchFailed(f"{folder} holds no {FILE}; name a folder that a run wrote to.") from error
    told = {field: facts[field] for field in ("machine", "wire", "scaled")}
    stages = tuple(Stage(**each) for each in facts["stages"])
    loads = tuple(Load(**each) for each in facts["loads"])
    return Results(stages=stages, loads=loads, bars=tuple(map(_bar, facts["bars"])), **told)


def _bar(facts: Mapping[str, Any]) -> Bar:
    own = {field: value for field, value in facts.items() if field not in {"median", "is_met", "ratios"}}
    return Bar(ratios=tuple(facts["ratios"]), **own)


def _loads(steadies: Iterable[Steady]) -> Iterable[Load]:
    """One of each, in the order in which they first came."""
    places = {KEY(each): place for place, each in reversed(list(enumerate(steadies)))}
    ordered = sorted(steadies, key=lambda each: places[KEY(each)])
    for key, group in groupby(ordered, KEY):
        rounds = list(group)
        measured = zip(*map(_figures, rounds), strict=True)
        yield Load(*key, len(rounds), *(round(statistics.median(each), 4) for each in measured))  # type: ignore[call-arg]


def _figures(steady: Steady) -> tuple[float, ...]:
    percentiles = (steady.percentile_ms(percent) for percent in (50, 90, 99))
    return steady.images_per_s, steady.cpu_ms, *percentiles
