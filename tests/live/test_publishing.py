"""A published version in a real Triton: served, activated, taken back, and fair to each request of a batch."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.cli.command import run

from lookonce.card import Card
from lookonce.errors import BackendContractBroken, ServiceError
from lookonce.forge.repository import publish
from lookonce.forge.staging import staging
from lookonce.inference.port import Call
from lookonce.inference.triton import Triton
from lookonce.local.environment import Environment
from lookonce.local.triton import LocalTriton, Plan, serving

pytestmark = pytest.mark.live
SIDE, ROWS, FATAL = 32, 5, 255


def graph(number: float) -> onnx.ModelProto:
    """Answers `number` in every cell, and fails on a batch whose any picture begins with a byte above 9."""
    nodes = [
        helper.make_node("Slice", ["images", "none", "one", "axes"], ["first"]),
        helper.make_node("Reshape", ["first", "flat"], ["bytes"]),
        helper.make_node("Cast", ["bytes"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["answers", "index"], ["answer"]),
        helper.make_node("Reshape", ["answer", "column"], ["cells"]),
        helper.make_node("Tile", ["cells", "repeats"], ["candidates"]),
    ]
    stored = {
        "none": [0, 0, 0],
        "one": [1, 1, 1],
        "axes": [1, 2, 3],
        "flat": [-1],
        "column": [-1, 1, 1],
        "repeats": [1, ROWS, 6],
    }
    weights = [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in stored.items()]
    weights.append(numpy_helper.from_array(np.full(10, number, np.float32), "answers"))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    candidates = helper.make_tensor_value_info("candidates", TensorProto.FLOAT, ["N", ROWS, 6])
    drawn = helper.make_graph(nodes, "picky", [images], [candidates], weights)
    return helper.make_model(drawn, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def put(repository: Path, card: Card) -> None:
    with staging(repository, card.name) as folder:
        onnx.save(graph(card.version), folder / "model.onnx")
        publish(repository, card, folder)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a person works in, with a repository below."""
    return tmp_path_factory.mktemp("desk")


@pytest.fixture(scope="module")
def own_plan(desk: Path, notes: Path, plan_for: Callable[..., Plan]) -> Callable[[], Plan]:
    """A Triton on the repository that the command finds."""
    return lambda: plan_for(desk / "models", notes=notes)


@pytest.fixture(scope="module")
def picky(
    desk: Path, triton_environment: Environment, own_plan: Callable[[], Plan], card_of: Callable[..., Card]
) -> Iterator[LocalTriton]:
    for version in (1, 2):
        put(desk / "models", card_of("picky", version))
    with serving(triton_environment, own_plan()) as local:
        yield local


async def answer(triton: Triton, card: Card, first_byte: int = 0) -> float:
    images = np.full((1, SIDE, SIDE, 3), first_byte, np.uint8)
    return float((await triton.infer(Call(card, images, 30.0)))[0, 0, 0])


async def test_activating_is_at_once_and_going_back_is_the_same_command(picky: LocalTriton, desk: Path) -> None:
    triton = Triton(picky.endpoint.grpc_url)
    try:
        first = (await triton.served("picky")).card()
        assert (first.version, await answer(triton, first)) == (1, 1.0)
        done = run("model", "activate", "picky", 2, "--repository", "models", cwd=desk)
        assert f"The local Triton at {picky.endpoint.grpc_url} took it." in done.stdout, done.stderr
        second = (await triton.served("picky")).card()
        assert (second.version, await answer(triton, second)) == (2, 2.0)
        with pytest.raises(ServiceError):
            await answer(triton, first)
        assert run("model", "activate", "picky", 1, "--repository", "models", cwd=desk).returncode == 0
        assert await answer(triton, (await triton.served("picky")).card()) == 1.0
    finally:
        await triton.close()


async def test_a_version_that_does_not_load_leaves_the_old_one_in_triton_and_in_the_repository(
    picky: LocalTriton, desk: Path, card_of: Callable[..., Card]
) -> None:
    broken = card_of("picky", 3)
    with staging(desk / "models", "picky") as folder:
        (folder / "model.onnx").write_bytes(b"no graph")
        publish(desk / "models", broken, folder)
    config = desk / "models" / "picky" / "config.pbtxt"
    before = config.read_bytes()
    done = run("model", "activate", "picky", 3, "--repository", "models", cwd=desk)
    assert done.returncode == 50
    assert "local-triton-failed: " in done.stderr
    assert "cannot be run by ONNX Runtime" in done.stderr
    assert "Version 1 stays the default." in done.stderr
    assert config.read_bytes() == before
    triton = Triton(picky.endpoint.grpc_url)
    assert await answer(triton, (await triton.served("picky")).card()) == 1.0
    await triton.close()


async def test_every_triton_on_the_repository_takes_the_change_or_none_does(
    picky: LocalTriton,
    desk: Path,
    triton_environment: Environment,
    own_plan: Callable[[], Plan],
    tmp_path: Path,
) -> None:
    def activate(version: int) -> subprocess.CompletedProcess[str]:
        return run("model", "activate", "picky", version, "--repository", desk / "models", cwd=tmp_path)

    async def served(local: LocalTriton) -> float:
        triton = Triton(local.endpoint.grpc_url)
        try:
            return await answer(triton, (await triton.served("picky")).card())
        finally:
            await triton.close()

    with serving(triton_environment, own_plan()) as beside:
        both = sorted((picky, beside), key=lambda local: str(local.endpoint.pid))
        done = activate(2)
        assert all(f"at {local.endpoint.grpc_url} took it." in done.stdout for local in both), done.stderr
        assert [await served(local) for local in both] == [2.0, 2.0]
        assert activate(1).returncode == 0
        assert [await served(local) for local in both] == [1.0, 1.0]


async def test_a_request_that_fails_takes_none_of_its_batch_with_it(picky: LocalTriton) -> None:
    triton = Triton(picky.endpoint.grpc_url)
    card = (await triton.served("picky")).card()
    asked = [FATAL if number % 5 == 0 else number % 10 for number in range(50)]
    answers = await asyncio.gather(*(answer(triton, card, byte) for byte in asked), return_exceptions=True)
    for byte, told in zip(asked, answers, strict=True):
        assert isinstance(told, BackendContractBroken) if byte == FATAL else told == card.version
    await triton.close()


def test_serving_leaves_a_version_as_it_was_published(picky: LocalTriton, desk: Path) -> None:
    version = desk / "models" / "picky" / "1"
    assert sorted(path.name for path in version.rglob("*")) == ["card.json", "model.onnx", "model.py"]
