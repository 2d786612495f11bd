"""The adapters, each serving the same models: what `tests/live/models` describes, as ONNX and as scripts too."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lookonce.card import Card
from lookonce.errors import BackendContractBroken
from lookonce.inference.colocated import Colocated
from lookonce.inference.embedded import Embedded
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, Candidates, Inference, ServedModel
from lookonce.inference.shared import Canvases
from lookonce.inference.spread import Spread
from lookonce.inference.triton import Triton

LayOnnx = Callable[..., Path]
MODELS = ("echo", "slow", "wrong_shape", "wrong_type", "fails")
ROWS = {"wrong_shape": 4}
TYPES = {"wrong_type": TensorProto.DOUBLE}


def _echo(call: Call) -> Candidates:
    return call.images[:, 0, :2].reshape(-1, 1, 6).astype(np.float32).repeat(5, axis=1)


def _script(call: Call) -> Candidates:
    if call.card.name == "fails":
        raise BackendContractBroken("no good will come of it")
    rows = _echo(call)[:, : ROWS.get(call.card.name, 5)]
    return rows.astype(np.float64) if call.card.name in TYPES else rows


def _constant(name: str, values: list[int]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def _graph(name: str) -> onnx.ModelProto:
    """The first six bytes of an image in every row; `slow` counts to ten million first, `fails` divides wrongly."""
    kind = TYPES.get(name, TensorProto.FLOAT)
    first_six = 7 if name == "fails" else 6
    values = {
        "from": [0, 0],
        "to": [1, 2],
        "axes": [1, 2],
        "one": [-1, 1, first_six],
        "rows": [1, ROWS.get(name, 5), 6],
    }
    nodes = [
        helper.make_node("Slice", ["images", "from", "to", "axes"], ["corner"]),
        helper.make_node("Reshape", ["corner", "one"], ["six"]),
        helper.make_node("Cast", ["six"], ["numbers"], to=kind),
        helper.make_node("Expand", ["numbers", "rows"], ["expanded"]),
    ]
    nodes += _counting() if name == "slow" else [helper.make_node("Identity", ["expanded"], ["candidates"])]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 32, 32, 3])
    candidates = helper.make_tensor_value_info("candidates", kind, ["n", "k", 6])
    constants = [_constant(key, numbers) for key, numbers in values.items()]
    graph = helper.make_graph(nodes, name, [images], [candidates], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _counting() -> list[onnx.NodeProto]:
    """Ten million rounds over the rows."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Abs", ["before"], ["after"])],
        "round",
        [
            info("round", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("before", TensorProto.FLOAT, None),
        ],
        [info("on", TensorProto.BOOL, []), info("after", TensorProto.FLOAT, None)],
    )
    rounds = helper.make_tensor("many", TensorProto.INT64, [], [10_000_000])
    return [
        helper.make_node("Constant", [], ["rounds"], value=rounds),
        helper.make_node("Loop", ["rounds", "", "expanded"], ["candidates"], body=body),
    ]


@pytest.fixture(scope="session")
def lay_onnx(lay_model: Callable[..., Path]) -> LayOnnx:
    """Put a model for the embedded runtime into a repository folder."""

    def lay(repository: Path, name: str = "echo") -> Path:
        folder = lay_model(repository, name)
        onnx.save(_graph(name), folder / "1" / "model.onnx")
        return folder

    return lay


@pytest.fixture(scope="session")
def onnx_repository(lay_onnx: LayOnnx, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("onnx-models")
    for name in MODELS:
        lay_onnx(repository, name)
    return repository


async def _triton(url: str) -> Inference:
    return Triton(url)


async def _spread(url: str) -> Inference:
    return Spread([Triton(url), Triton(url)])


async def _colocated(url: str) -> Inference:
    """Once it has looked at a model its memory is there."""
    opened = Colocated(url, Canvases(8, lambda _event, _facts: None))
    await opened.served("echo")
    return opened


ADAPTERS = {"triton": _triton, "spread": _spread, "colocated": _colocated}


@pytest.fixture(params=["fake", "embedded", "triton", "spread", "colocated"])
async def inference(
    request: pytest.FixtureRequest, card_of: Callable[..., Card], onnx_repository: Path
) -> AsyncIterator[Inference]:
    """An open adapter of each kind."""
    kind = request.param
    if kind == "fake":
        models = {name: ServedModel(name, 1, {1: card_of(name)}) for name in MODELS}
        opened: Inference = Fake(models, _script, latency_s={"slow": 0.5})
    elif kind == "embedded":
        opened = Embedded(onnx_repository)
    else:
        url = request.getfixturevalue("local_triton").endpoint.grpc_url
        opened = await ADAPTERS[kind](url)
    yield opened
    await opened.close()
