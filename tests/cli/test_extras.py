"""Each command needs what its extra brings and nothing else, and says so where that is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import PATIENCE_S

from lookonce.cli.main import EXTRAS

BARE = Path(__file__).parent / "bare.py"
NEEDS: dict[str, list[str]] = {"": ["lookonce.client", "lookonce.cli.main"]}
for command, extras in EXTRAS.items():
    NEEDS.setdefault(extras, []).append(f"lookonce.cli.{command}")
NEEDS["gateway"].append("lookonce.cli.pictures")
NEEDS["gateway,embedded"].append("lookonce.cli.looking")
NEEDS["forge"] += [f"lookonce.cli.{name}" for name in ("engine", "importing", "inspecting", "shelf", "verify")]


def bare(extras: str, *modules: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(BARE), extras, *modules]
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.parametrize(("extras", "modules"), NEEDS.items(), ids=lambda each: each or "none")
def test_what_an_extra_brings_is_enough(extras: str, modules: list[str]) -> None:
    done = bare(extras, *modules)
    assert done.returncode == 0, done.stderr


def test_what_no_extra_brought_is_really_absent() -> None:
    assert "No module named 'fastapi'" in bare("", "fastapi").stderr
    assert "No module named 'onnxruntime'" in bare("gateway", "lookonce.cli.looking").stderr
