"""What is measured, section by section: loads, and the ratios that are judged, each taken in interleaved rounds."""

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import shelf
from bed import GRPC, SHARED_MEMORY, Served, gateway, triton
from figures import Bar, Steady
from load import decode_ms, order_for, request_ms, steady, told
from processes import pinned_to

from lookonce.local.environment import Environment

RAW, MULTIPART, UNARY, STREAM, WEBSOCKET, TENSORS = (
    "REST raw", "multipart", "gRPC unary", "gRPC stream", "WebSocket", "tensors",
)  # fmt: skip
FEW, SOME, MANY = 1, 8, 64
MOST_OPEN: Final = 64
FULL_REQUEST: Final = 16
PLAIN: Final = "480p"
FLOOR: Final[Mapping[str, tuple[float, float]]] = {SHARED_MEMORY: (1.8, 1.6), GRPC: (2.5, 2.2)}
"""The bar and the aim."""

FASTER: Final[Mapping[str, float]] = {SHARED_MEMORY: 5.0, GRPC: 4.0}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a load lasts, how often a pair is measured, and for how many requests memory is watched."""

    warm_up_s: float = 0.4
    load_s: float = 1.5
    pairs: int = 5
    crowds: tuple[int, ...] = (FEW, SOME, MANY)
    requests: int = 20_000

    @property
    def changes(self) -> dict[str, object]:
        """In an order."""
        return {"warm_up_s": self.warm_up_s, "duration_s": self.load_s}


QUICK: Final = Pace(warm_up_s=0.05, load_s=0.3, pairs=1, crowds=(SOME,), requests=1000)


@dataclass(frozen=True, slots=True)
class Bench:
    """What there is to be measured. `gateways` are named by how their tensors travel; `say` tells what is going on."""

    pace: Pace
    photos: Mapping[str, Path]
    triton: Served
    gateways: Mapping[str, Served]
    conventional: Served
    environment: Environment
    desk: Path
    say: Callable[[str], None]

    @property
    def usual(self) -> Served:
        """The gateway as it comes."""
        return self.gateways[GRPC]

    def rounds(self) -> range:
        return range(self.pace.pairs)

    def load(self, section: str, served: Served, way: str, **changes: object) -> Steady:
        """A steady load: the plain picture and eight callers, where nothing else is said."""
        picture = str(changes.pop("photo", PLAIN))
        order = order_for(served, way, self.photos[picture], **self.pace.changes | changes)
        self.say(f"{section}: {served.subject}, {order.way}, {picture}, {order.callers} callers")
        return steady(section, served, order)


@dataclass(frozen=True, slots=True)
class Found:
    loads: Sequence[Steady] = ()
    bars: Sequence[Bar] = ()


def ways(bench: Bench) -> Found:
    return Found([
        bench.load("ways", served, way, callers=callers)
        for served in bench.gateways.values()
        for way in (RAW, MULTIPART, UNARY, STREAM, WEBSOCKET)
        for callers in bench.pace.crowds
    ])  # fmt: skip


def sizes(bench: Bench) -> Found:
    return Found([
        bench.load("sizes", served, RAW, photo=photo) for photo in bench.photos for served in bench.gateways.values()
    ])  # fmt: skip


def floor(bench: Bench) -> Found:
    """The gateways over the bare decode in CPU, and over the conventional way in images a second.

    The decode is measured just before each load and just after it, for the machine does not keep its pace.
    """
    theirs, floors = list[Steady](), {transport: list[float]() for transport in bench.gateways}
    ours: dict[str, list[Steady]] = {transport: [] for transport in bench.gateways}
    for _ in bench.rounds():
        for transport, served in bench.gateways.items():
            before_ms = _decode_ms(bench)
            ours[transport].append(bench.load("floor", served, RAW))
            floors[transport].append((before_ms + _decode_ms(bench)) / 2)
        theirs.append(bench.load("floor", bench.conventional, MULTIPART, path="/detect"))
    return Found([*(load for loads in ours.values() for load in loads), *theirs], [
        *(_over_the_floor(transport, loads, floors[transport]) for transport, loads in ours.items()),
        *(_over_the_conventional(transport, loads, theirs) for transport, loads in ours.items()),
    ])  # fmt: skip


def _decode_ms(bench: Bench) -> float:
    bench.say("floor: bare decode")
    return decode_ms(bench.photos[PLAIN], bench.pace.load_s / 4)


def _over_the_floor(transport: str, loads: Sequence[Steady], decodes: Sequence[float]) -> Bar:
    ratios = tuple(load.cpu_ms / decode for load, decode in zip(loads, decodes, strict=True))
    limit, aim = FLOOR[transport]
    return Bar(f"gateway CPU ÷ bare decode, over {transport}", ratios, limit, aim=aim)


def _over_the_conventional(transport: str, loads: Sequence[Steady], theirs: Sequence[Steady]) -> Bar:
    name = f"images/s ÷ the conventional way's, over {transport}"
    return Bar(name, _ratios(loads, theirs, "images_per_s"), FASTER[transport], at_least=True)


def pinned(bench: Bench) -> Found:
    """Triton on one core with a model that needs all of it; gateway and callers on another."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        bench.say("pinned: left out, for this machine has one core")
        return Found()
    with _pinned_bed(bench, *cores) as (alone, served), pinned_to(cores[1]):
        load_s = 2 * bench.pace.load_s
        ours, theirs = _pairs(
            bench,
            partial(bench.load, "pinned", served, RAW, duration_s=load_s),
            partial(bench.load, "pinned", alone, TENSORS, model=shelf.TWENTY, duration_s=load_s),
        )
    ratios = _ratios(ours, theirs, "images_per_s")
    return Found(
        [*ours, *theirs], [Bar("images/s ÷ Triton alone, a core each, 20 ms model", ratios, 0.95, at_least=True)]
    )


@contextmanager
def _pinned_bed(bench: Bench, triton_core: int, gateway_core: int) -> Iterator[tuple[Served, Served]]:
    desk = bench.desk / "pinned"
    desk.mkdir()
    with ExitStack() as stack:
        with pinned_to(triton_core):
            alone = stack.enter_context(triton(bench.environment, shelf.lay_twenty(desk / "models"), desk))
        with pinned_to(gateway_core):
            served = stack.enter_context(gateway(GRPC, alone, shelf.TWENTY, desk))
        yield alone, served


def latency(bench: Bench) -> Found:
    """At half of what saturates it, counted from when each request was due; and what one caller waits for us alone."""
    most = [bench.load("latency", bench.usual, RAW, callers=callers) for callers in (SOME, 2 * SOME)]
    half_per_s = max(load.images_per_s for load in most) / 2
    half = [
        bench.load(
            "latency", bench.usual, RAW, callers=MOST_OPEN, per_s=half_per_s, duration_s=2 * bench.pace.load_s
        )
        for _ in bench.rounds()
    ]  # fmt: skip
    tail = Bar(
        "p99 ÷ p50 at half the saturation rate",
        tuple(each.percentile_ms(99) / each.percentile_ms(50) for each in half),
        3.0,
    )
    alone, added = _one_caller(bench)
    return Found([*most, *half, *alone], [tail, *added])


def _one_caller(bench: Bench) -> tuple[list[Steady], list[Bar]]:
    loads = list[Steady]()
    added: dict[str, list[float]] = {transport: [] for transport in bench.gateways}
    for _ in bench.rounds():
        for transport, served in bench.gateways.items():
            decode, tritons = (
                decode_ms(bench.photos[PLAIN], bench.pace.load_s / 4),
                request_ms(bench.triton, shelf.NOTHING),
            )
            loads.append(bench.load("latency", served, RAW, callers=FEW))
            added[transport].append(loads[-1].percentile_ms(50) - decode - tritons())
    bars = [Bar(f"one caller's added latency, ms, over {name}", tuple(ms), 1.5) for name, ms in added.items()]
    return loads, bars


def batch(bench: Bench) -> Found:
    """Many images in one request, and a stream of them, against one in each."""
    loads: dict[str, list[Steady]] = {way: [] for way in (RAW, MULTIPART, STREAM)}
    for _ in bench.rounds():
        loads[RAW].append(bench.load("batch", bench.usual, RAW))
        loads[MULTIPART].append(
            bench.load("batch", bench.usual, MULTIPART, pictures=FULL_REQUEST, callers=SOME // 2)
        )  # fmt: skip
        loads[STREAM].append(bench.load("batch", bench.usual, STREAM))
    return Found([load for each in loads.values() for load in each], [
        Bar("CPU an image, 16 in a request ÷ single ones", _ratios(loads[MULTIPART], loads[RAW], "cpu_ms"), 0.85),
        Bar("CPU an image, gRPC stream ÷ REST raw", _ratios(loads[STREAM], loads[RAW], "cpu_ms"), 1.0),
    ])  # fmt: skip


def crowd(bench: Bench) -> Found:
    many, some = _pairs(
        bench,
        partial(bench.load, "crowd", bench.usual, RAW, callers=MANY),
        partial(bench.load, "crowd", bench.usual, RAW, callers=SOME),
    )
    bar = Bar("CPU a request, 64 callers ÷ 8", _ratios(many, some, "cpu_ms"), 1.15)
    return Found([*many, *some], [bar])


def memory(bench: Bench) -> Found:
    """Resident memory over many requests: the median of the last quarter over that of the quarter before."""
    return Found(bars=[
        Bar(f"resident memory, last quarter ÷ the one before, over {name}", (_growth(bench, served),), 1.02)
        for name, served in bench.gateways.items()
    ])  # fmt: skip


def _growth(bench: Bench, served: Served) -> float:
    bench.say(f"memory: {served.subject}, {bench.pace.requests} requests")
    resident = told(order_for(served, RAW, bench.photos[PLAIN], requests=bench.pace.requests)).resident_bytes
    quarter = len(resident) // 4
    return statistics.median(resident[-quarter:]) / statistics.median(resident[-2 * quarter : -quarter])


def sample(bench: Bench) -> Found:
    ours, theirs = _pairs(
        bench,
        partial(bench.load, "sample", bench.usual, RAW, path=f"/v1/models/{shelf.SAMPLE}/detect"),
        partial(bench.load, "sample", bench.triton, TENSORS, model=shelf.SAMPLE),
    )
    return Found([*ours, *theirs])


def _pairs(
    bench: Bench, ours: Callable[[], Steady], theirs: Callable[[], Steady]
) -> tuple[tuple[Steady, ...], tuple[Steady, ...]]:
    """One after the other and again, for figures move while a run lasts."""
    mine, others = zip(*((ours(), theirs()) for _ in bench.rounds()), strict=True)
    return mine, others


def _ratios(ours: Sequence[Steady], theirs: Sequence[Steady], figure: str) -> tuple[float, ...]:
    return tuple(getattr(mine, figure) / getattr(other, figure) for mine, other in zip(ours, theirs, strict=True))


SECTIONS: Final[Mapping[str, Callable[[Bench], Found]]] = {
    "ways": ways,
    "sizes": sizes,
    "floor": floor,
    "pinned": pinned,
    "latency": latency,
    "batch": batch,
    "crowd": crowd,
    "memory": memory,
    "sample": sample,
}
