"""Cards, and versions published under them: the graphs are plain bytes here, for the repository never reads them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from lookonce.card import Card, Precision, Target
from lookonce.forge.repository import publish
from lookonce.forge.staging import staging
from lookonce.vision.letterbox import Geometry

MakeCard: TypeAlias = Callable[..., Card]
Put: TypeAlias = Callable[..., Card]

CARD = Card(
    name="shapes",
    version=1,
    labels=("circle", "square", 'a "quoted" one, ü'),
    geometry=Geometry(640, 480),
    candidates=1000,
    max_batch=8,
    needs_nms=True,
    layout="v8",
    precision=Precision.FP32,
    target=Target.PYTHON,
    exporter="a test",
    created="2026-11-21T00:00:00Z",
    source_sha256="a" * 64,
    served_sha256="b" * 64,
)


@pytest.fixture
def make_card() -> MakeCard:
    def make(version: int = 1, **changes: object) -> Card:
        return replace(CARD, version=version, **changes)

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models" / "cpu"


@pytest.fixture
def put(root: Path, make_card: MakeCard) -> Put:
    """Publish a version whose graph is some bytes."""

    def put(version: int = 1, graph: bytes = b"a graph", **changes: object) -> Card:
        card = make_card(version, **changes)
        with staging(root, card.name) as folder:
            (folder / "model.onnx").write_bytes(graph)
            publish(root, card, folder)
        return card

    return put
