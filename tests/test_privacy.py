"""Nothing here reports to anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("room", ["lookonce.forge.running", "lookonce.inference.embedded", "lookonce.cli.main"])
def test_onnx_runtime_leaves_no_trace_of_telemetry(room: str, tmp_path: Path) -> None:
    silenced = {"ORT_DISABLE_TELEMETRY", "CI"}
    home = {key: value for key, value in os.environ.items() if key not in silenced} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", f"import {room}, onnxruntime"], env=home, check=True, timeout=60)
    assert [str(path) for path in tmp_path.rglob("*deviceid*")] == []
