"""What every room's tests may share: cards, folders of models, free ports and one local Triton."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from lookonce.card import Card, Precision, Target
from lookonce.forge.config import config_for, config_to_text
from lookonce.inference.port import Call
from lookonce.local.environment import Environment, missing_wheel, prepare, this_machine
from lookonce.local.ports import Ports
from lookonce.local.triton import LocalTriton, Plan, serving
from lookonce.vision.letterbox import Geometry

ROOT = Path(__file__).parents[1]
BEHAVIOURS = ROOT / "tests" / "live" / "models" / "behaviours.py"
LIVE_MODELS = ("echo", "slow", "wrong_shape", "wrong_type", "wrong_name", "fails", "dies")
A_CARD = Card(
    name="echo",
    version=1,
    labels=("a", "b"),
    geometry=Geometry(32, 32),
    candidates=5,
    max_batch=4,
    needs_nms=False,
    layout="live-test",
    precision=Precision.FP32,
    target=Target.PYTHON,
    exporter="tests",
    created="2026-01-01T00:00:00Z",
    source_sha256="0" * 64,
    served_sha256="0" * 64,
)

Changed = Callable[[ModelConfig], None]


def _unchanged(_config: ModelConfig) -> None: ...


@pytest.fixture(scope="session")
def card_of() -> Callable[..., Card]:
    """A card of a model that gives five rows for a 32 px image."""

    def make(name: str = "echo", version: int = 1, **changes: object) -> Card:
        return replace(A_CARD, name=name, version=version, **changes)

    return make


@pytest.fixture(scope="session")
def call_of(card_of: Callable[..., Card]) -> Callable[..., Call]:
    """A call with images that differ, each from the last and from byte to byte."""

    def make(name: str = "echo", images: int = 1, timeout_s: float = 30.0, **changes: object) -> Call:
        card = card_of(name, changes.pop("version", 1))
        pixels = np.arange(images * 32 * 32 * 3, dtype=np.uint8).reshape(images, 32, 32, 3)
        pixels += np.arange(images, dtype=np.uint8)[:, None, None, None]
        return Call(card, pixels, timeout_s, **changes)

    return make


@pytest.fixture(scope="session")
def lay_model(card_of: Callable[..., Card]) -> Callable[..., Path]:
    """Put a Python model of one instance, whose queue can be watched, into a folder; `change` edits its config."""

    def lay(repository: Path, name: str = "echo", change: Changed = _unchanged, source: Path = BEHAVIOURS) -> Path:
        folder = repository / name
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.py").write_text(source.read_text())
        config = config_for(card_of(name))
        del config.model_warmup[:]
        config.instance_group[0].count = 1
        change(config)
        (folder / "config.pbtxt").write_text(config_to_text(config))
        return folder

    return lay


@pytest.fixture(scope="session")
def free_ports() -> Callable[[], Ports]:
    """Three ports that nobody has taken yet."""

    def find() -> Ports:
        with ExitStack() as stack:
            doors = [stack.enter_context(socket.socket()) for _ in range(3)]
            for door in doors:
                door.bind(("127.0.0.1", 0))
            return Ports(*(door.getsockname()[1] for door in doors))

    return find


@pytest.fixture(scope="session")
def triton_environment() -> Environment:
    """The product's own environment for Triton, in the checkout, made where it is missing."""
    reason = missing_wheel(this_machine())
    if reason is None:
        return prepare(ROOT / ".triton")
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the local Tritons of these tests and of the commands they call leave word: never the user's own folder."""
    with pytest.MonkeyPatch.context() as variables:
        runtime = tmp_path_factory.mktemp("runtime")
        variables.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield runtime / "lookonce"


@pytest.fixture(scope="session")
def plan_for(free_ports: Callable[[], Ports], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Plan]:
    """A plan for a repository, with ports, log and notes of its own, and no patience at its end."""

    def make(repository: Path, **changes: object) -> Plan:
        desk = tmp_path_factory.mktemp("triton")
        plan = Plan(repository=repository, ports=free_ports(), log=desk / "log", notes=desk, exit_timeout_s=0)
        return replace(plan, **changes)

    return make


@pytest.fixture(scope="session")
def local_triton(
    triton_environment: Environment,
    plan_for: Callable[..., Plan],
    lay_model: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalTriton]:
    """One real Triton for the whole session, serving the models that `tests/live/models` describes."""
    repository = tmp_path_factory.mktemp("live-models")

    def one_at_a_time(config: ModelConfig) -> None:
        config.max_batch_size = 4 if config.name != "slow" else 1
        config.dynamic_batching.default_queue_policy.max_queue_size = 64 if config.name != "slow" else 2

    for name in LIVE_MODELS:
        lay_model(repository, name, one_at_a_time)
    with serving(triton_environment, plan_for(repository)) as triton:
        yield triton


@pytest.fixture(scope="session")
def png() -> bytes:
    """A picture of 40 × 30 pixels."""
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """CI must try everything: there a skip is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome, report.longrepr = "failed", f"CI may skip nothing: {report.longrepr}"
    return report
