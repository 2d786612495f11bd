"""What a run of the bench finds: plain values, which one side measures and the other draws."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Steady:
    """One steady load on one gateway: CPU is the gateway's own, all its threads, from its own accounting."""

    section: str
    subject: str
    way: str
    picture: str
    callers: int
    images: int
    took_s: float
    cpu_s: float
    latencies_ms: tuple[float, ...] = field(repr=False)

    @property
    def images_per_s(self) -> float:
        return self.images / self.took_s

    @property
    def cpu_ms(self) -> float:
        """Of the gateway, an image."""
        return 1e3 * self.cpu_s / self.images

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.latencies_ms, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio that is judged, pair by pair of one run: `ours` over `theirs`, at least or at most `limit`."""

    name: str
    ratios: tuple[float, ...]
    limit: float
    at_least: bool = False
    aim: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool:
        return self.median >= self.limit if self.at_least else self.median <= self.limit


@dataclass(frozen=True, slots=True)
class Stage:
    """CPU of one step on one picture, microseconds."""

    name: str
    picture: str
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Findings:
    machine: Mapping[str, object]
    stages: Sequence[Stage]
    loads: Sequence[Steady]
    bars: Sequence[Bar]
    wire: Mapping[str, object] = field(default_factory=dict)
    scaled: Sequence[Mapping[str, object]] = ()
