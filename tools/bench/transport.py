"""What a wire contract costs: images a second and client CPU through a local Triton whose models do nothing.

The usual contract (FP32 NCHW in, the raw head [84,8400] out) against ours (UINT8 NHWC in, [300,6] out), in interleaved
rounds of one run, for figures move between runs. Both are asked with the same bare stub; a third row is our adapter.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_UINT8, ModelConfig, ModelInput, ModelOutput
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from lookonce.card import Card, Precision, Target
from lookonce.forge.config import config_to_text
from lookonce.inference.port import Call
from lookonce.inference.triton import CHANNEL_OPTIONS, Triton
from lookonce.local.environment import FOLDER, prepare
from lookonce.local.ports import Ports
from lookonce.local.triton import Plan, serving
from lookonce.vision.letterbox import Geometry

MODEL = Path(__file__).with_name("models") / "nothing.py"
RESULTS = Path("bench/results")
IN_FLIGHT, MAX_BATCH = 8, 8
THROUGHPUT_BAR, CPU_BAR = 4.0, 0.25
USUAL, OURS, ADAPTER = "usual", "ours", "adapter"
NAMES = {
    USUAL: "usual",
    OURS: "ours",
    ADAPTER: "ours, adapter",
}

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Wire:
    name: str
    datatype: str
    kind: int
    shape: tuple[int, ...]
    dtype: type[np.generic]
    answer: tuple[int, ...]

    @property
    def config(self) -> ModelConfig:
        config = ModelConfig(name=self.name, backend="python", max_batch_size=MAX_BATCH)
        config.input.append(ModelInput(name="images", data_type=self.kind, dims=self.shape))
        config.output.append(ModelOutput(name="candidates", data_type=TYPE_FP32, dims=self.answer))
        config.instance_group.add(count=1, kind="KIND_CPU")
        config.dynamic_batching.SetInParent()
        return config


WIRES = {
    USUAL: Wire(USUAL, "FP32", TYPE_FP32, (3, 640, 640), np.float32, (84, 8400)),
    OURS: Wire(OURS, "UINT8", TYPE_UINT8, (640, 640, 3), np.uint8, (300, 6)),
}


@dataclass(frozen=True, slots=True)
class Round:
    contract: str
    images_per_s: float
    client_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over the usual, pair by pair."""

    median: float
    lowest: float
    highest: float


def bare(stub: GRPCInferenceServiceStub, wire: Wire) -> Ask:
    image: NDArray[np.generic] = np.zeros((1, *wire.shape), wire.dtype)

    async def ask() -> object:
        request = ModelInferRequest(model_name=wire.name, model_version="1")
        request.inputs.add(name="images", datatype=wire.datatype, shape=image.shape)
        request.raw_input_contents.append(image.tobytes())
        answer = await stub.ModelInfer(request)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(answer.outputs[0].shape)

    return ask


def adapted(triton: Triton) -> Ask:
    card = Card(
        name=OURS, version=1, labels=("thing",), geometry=Geometry(640, 640), candidates=300, max_batch=MAX_BATCH,
        needs_nms=False, layout="", precision=Precision.FP32, target=Target.PYTHON, exporter="", created="",
        source_sha256="", served_sha256="",
    )  # fmt: skip
    call = Call(card, np.zeros((1, 640, 640, 3), np.uint8), 30.0)
    return lambda: triton.infer(call)


async def measured(contract: str, ask: Ask, duration_s: float) -> Round:
    """As many images as go through in that time, `IN_FLIGHT` at once, with the CPU time of this process."""
    done = 0
    wall, cpu = time.perf_counter(), time.process_time()

    async def keep_asking() -> None:
        nonlocal done
        while time.perf_counter() - wall < duration_s:
            await ask()
            done += 1

    await asyncio.gather(*(keep_asking() for _ in range(IN_FLIGHT)))
    took_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return Round(contract, done / took_s, 1000 * cpu_s / done)


async def rounds(url: str, pairs: int, duration_s: float) -> list[Round]:
    triton = Triton(url)
    async with grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS) as channel:
        stub = GRPCInferenceServiceStub(channel)
        asks = {name: bare(stub, wire) for name, wire in WIRES.items()} | {ADAPTER: adapted(triton)}
        for ask in asks.values():
            await measured("warm-up", ask, duration_s / 5)
        found = [await measured(name, asks[name], duration_s) for _ in range(pairs) for name in asks]
    await triton.close()
    return found


def lay_models(repository: Path) -> None:
    for wire in WIRES.values():
        folder = repository / wire.name / "1"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL.read_text())
        (folder.parent / "config.pbtxt").write_text(config_to_text(wire.config))


def free_ports() -> Ports:
    with ExitStack() as stack:
        doors = [stack.enter_context(socket.socket()) for _ in range(3)]
        for door in doors:
            door.bind(("127.0.0.1", 0))
        return Ports(*(door.getsockname()[1] for door in doors))


def ratio(found: list[Round], figure: str, ours: str) -> Ratio:
    pairs = zip(figures(found, ours, figure), figures(found, USUAL, figure), strict=True)
    ratios = [mine / theirs for mine, theirs in pairs]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def figures(found: list[Round], contract: str, figure: str) -> list[float]:
    return [getattr(one, figure) for one in found if one.contract == contract]


def show(found: list[Round], console: Console) -> bool:
    table = Table("", "images/s", "ratio", "client ms CPU", "ratio")
    for contract, name in NAMES.items():
        medians = [statistics.median(figures(found, contract, figure)) for figure in ("images_per_s", "client_cpu_ms")]
        ratios = [ratio(found, figure, contract) for figure in ("images_per_s", "client_cpu_ms")]
        spread = [f"{one.median:.2f} ({one.lowest:.2g} to {one.highest:.2g})" for one in ratios]
        table.add_row(name, f"{medians[0]:.0f}", spread[0], f"{medians[1]:.2f}", spread[1])
    console.print(table)
    faster, cheaper = (ratio(found, figure, OURS).median for figure in ("images_per_s", "client_cpu_ms"))
    passed = faster >= THROUGHPUT_BAR and cheaper <= CPU_BAR
    console.print(
        f"[bold {'green]met' if passed else 'red]missed'}[/]: {faster:.2f} times the images/s "
        f"(bar: {THROUGHPUT_BAR:g}), {cheaper:.2f} of the client CPU (bar: {CPU_BAR:g})",
        highlight=False,
    )
    return passed


def write(found: list[Round], folder: Path, load: tuple[float, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before_and_after": load,
        "in_flight": IN_FLIGHT,
        "rounds": [asdict(one) for one in found],
        "ratios": {
            contract: {figure: asdict(ratio(found, figure, contract)) for figure in ("images_per_s", "client_cpu_ms")}
            for contract in (OURS, ADAPTER)
        },
    }
    (folder / "transport.json").write_text(json.dumps(facts, indent=2) + "\n")
    draw(found, folder / "transport.png")


def draw(found: list[Round], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  the backend is chosen first

    titles = {"images_per_s": "images/s (more is better)", "client_cpu_ms": "client CPU, ms an image (less is better)"}
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained", sharey=True)
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for row, (contract, name) in enumerate(NAMES.items()):
            values = figures(found, contract, key)
            middle = statistics.median(values)
            axis.barh(name, middle, color=["#9aa5b1", "#2f9e6e", "#1b7a52"][row], height=0.6)
            axis.plot(values, [row] * len(values), "|", color="#1f2933", markersize=12)
            axis.text(max(values), row, f"  {middle:.3g}", ha="left", va="center", weight="bold")
        axis.margins(x=0.15)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two short rounds, no verdict: to try the tool")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for transport.json and transport.png")
    parser.add_argument("--environment", type=Path, default=FOLDER, help="where Triton's virtual environment lies")
    wishes = parser.parse_args()
    pairs, duration_s = (2, 0.3) if wishes.quick else (5, 2.0)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as desk:
        lay_models(Path(desk, "models"))
        plan = Plan(repository=Path(desk, "models"), ports=free_ports(), log=Path(desk, "log"), notes=Path(desk))
        with serving(prepare(wishes.environment), plan) as triton:
            found = asyncio.run(rounds(triton.endpoint.grpc_url, pairs, duration_s))
    write(found, wishes.results, (load, os.getloadavg()[0]))
    passed = show(found, Console())
    return 0 if passed or wishes.quick else 1


if __name__ == "__main__":
    sys.exit(main())
