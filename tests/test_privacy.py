"""Nothing here reports to anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("room", ["lookonce.forge.running", "lookonce.inference.embedded", "lookonce.cli.main"])
def test_onnx_runtime_leaves_no_trace_of_telemetry(room: str, tmp_path: Path) -> None:
    home = dict(os.environ) | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    home.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", f"import {room}, onnxruntime"], env=home, check=True, timeout=60)
    assert [str(path) for path in tmp_path.rglob("*deviceid*")] == []


def test_onnx_runtime_would_report_without_being_told(tmp_path: Path) -> None:
    """The day this fails, ONNX Runtime has stopped, and we may stop telling it."""
    home = dict(os.environ) | {"HOME": str(tmp_path)}
    home.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=home, check=True, timeout=60)
    assert list(tmp_path.rglob("*deviceid*"))
