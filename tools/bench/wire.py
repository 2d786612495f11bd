"""What a wire contract costs: images a second and client CPU through a local Triton whose models do nothing.

The usual contract (FP32 NCHW in, the raw head [84,8400] out) against ours (UINT8 NHWC in, [300,6] out), in interleaved
rounds of one run, for figures move between runs. Both are asked with the same bare stub; a third row is our adapter.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc.aio
import numpy as np
from figures import Bar
from numpy.typing import NDArray
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_UINT8, ModelConfig, ModelInput, ModelOutput
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from lookonce.card import Card, Precision, Target
from lookonce.forge.config import config_to_text
from lookonce.inference.port import Call
from lookonce.inference.triton import CHANNEL_OPTIONS, Triton
from lookonce.vision.letterbox import Geometry

MODEL = Path(__file__).with_name("models") / "nothing.py"
IN_FLIGHT, MAX_BATCH = 8, 8
USUAL, OURS, ADAPTER = "usual", "ours", "ours, adapter"

Ask: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Contract:
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


CONTRACTS = {
    USUAL: Contract("wire_usual", "FP32", TYPE_FP32, (3, 640, 640), np.float32, (84, 8400)),
    OURS: Contract("wire_ours", "UINT8", TYPE_UINT8, (640, 640, 3), np.uint8, (300, 6)),
}


@dataclass(frozen=True, slots=True)
class Round:
    contract: str
    images_per_s: float
    client_cpu_ms: float


def lay_models(repository: Path) -> None:
    """Put what `measure` asks into the folder that a Triton will serve."""
    for contract in CONTRACTS.values():
        folder = repository / contract.name / "1"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL.read_text())
        (folder.parent / "config.pbtxt").write_text(config_to_text(contract.config))


def measure(url: str, quick: bool) -> Mapping[str, object]:
    """Ask the Triton at `url`, which serves what `lay_models` laid, each way in turn."""
    pairs, duration_s = (2, 0.3) if quick else (5, 2.0)
    found = asyncio.run(_rounds(url, pairs, duration_s))
    return {"in_flight": IN_FLIGHT, "rounds": [asdict(each) for each in found]}


def bars(wire: Mapping[str, object]) -> tuple[Bar, Bar]:
    """Ours against the usual, pair by pair."""
    faster, cheaper = (tuple(ratios(wire, OURS, figure)) for figure in ("images_per_s", "client_cpu_ms"))
    return (
        Bar("wire: images/s, our contract ÷ usual contract", faster, 4.0, at_least=True),
        Bar("wire: client CPU, our contract ÷ usual contract", cheaper, 0.25),
    )


def ratios(wire: Mapping[str, object], contract: str, figure: str) -> list[float]:
    pairs = zip(figures_of(wire, contract, figure), figures_of(wire, USUAL, figure), strict=True)
    return [mine / theirs for mine, theirs in pairs]


def figures_of(wire: Mapping[str, object], contract: str, figure: str) -> list[float]:
    rounds = cast("list[dict[str, Any]]", wire["rounds"])
    return [each[figure] for each in rounds if each["contract"] == contract]


async def _rounds(url: str, pairs: int, duration_s: float) -> list[Round]:
    triton = Triton(url)
    async with grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS) as channel:
        stub = GRPCInferenceServiceStub(channel)
        asks = {name: _bare(stub, contract) for name, contract in CONTRACTS.items()} | {ADAPTER: _adapted(triton)}
        for ask in asks.values():
            await _measured("warm-up", ask, duration_s / 5)
        found = [await _measured(name, asks[name], duration_s) for _ in range(pairs) for name in asks]
    await triton.close()
    return found


def _bare(stub: GRPCInferenceServiceStub, contract: Contract) -> Ask:
    image: NDArray[np.generic] = np.zeros((1, *contract.shape), contract.dtype)

    async def ask() -> object:
        request = ModelInferRequest(model_name=contract.name, model_version="1")
        request.inputs.add(name="images", datatype=contract.datatype, shape=image.shape)
        request.raw_input_contents.append(image.tobytes())
        answer = await stub.ModelInfer(request)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(answer.outputs[0].shape)

    return ask


def _adapted(triton: Triton) -> Ask:
    card = Card(
        name=CONTRACTS[OURS].name, version=1, labels=("thing",), geometry=Geometry(640, 640), candidates=300,
        max_batch=MAX_BATCH, needs_nms=False, layout="", precision=Precision.FP32, target=Target.PYTHON, exporter="",
        created="", source_sha256="", served_sha256="",
    )  # fmt: skip
    call = Call(card, np.zeros((1, 640, 640, 3), np.uint8), 30.0)
    return lambda: triton.infer(call)


async def _measured(contract: str, ask: Ask, duration_s: float) -> Round:
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
