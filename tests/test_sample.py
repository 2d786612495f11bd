"""The sample model is what its card and its page say."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from lookonce.card import card_from_json

ROOT = Path(__file__).parents[1]
SHAPES = ROOT / "tools" / "shapes"
VERSION = ROOT / "model_repository" / "cpu" / "shapes" / "1"


def test_it_finds_what_its_bar_asks_on_300_pictures_that_it_never_saw(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, SHAPES / "evaluate.py", SHAPES / "shapes.onnx", "--json", report]
    subprocess.run(command, check=True, capture_output=True, timeout=170)
    measured = json.loads(report.read_text())
    assert measured["picture_seeds"] == [0, 299]
    assert measured["total"]["map50"] >= 0.95
    assert measured["total"]["map"] >= 0.75
    card = card_from_json((VERSION / "card.json").read_bytes(), "shapes")
    assert card.accuracy is not None
    assert abs(card.accuracy.map50 - measured["total"]["map50"]) < 1e-3
    assert abs(card.accuracy.map50_95 - measured["total"]["map"]) < 1e-3


def test_it_is_small() -> None:
    assert (SHAPES / "shapes.onnx").stat().st_size < 3_000_000


def test_the_committed_versions_are_imports_of_the_committed_export() -> None:
    export = sha256((SHAPES / "shapes.onnx").read_bytes()).hexdigest()
    for target in ("cpu", "gpu"):
        version = ROOT / "model_repository" / target / "shapes" / "1"
        card = card_from_json((version / "card.json").read_bytes(), f"shapes on {target}")
        assert card.source_sha256 == export
        assert card.served_sha256 == sha256((version / "model.onnx").read_bytes()).hexdigest()
