import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lookonce.local.environment import Environment

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]


def test_the_transport_bench_measures_and_draws(triton_environment: Environment, tmp_path: Path) -> None:
    tool = [sys.executable, ROOT / "tools" / "bench" / "transport.py", "--quick"]
    options = ["--results", tmp_path, "--environment", triton_environment.backends.parent]
    done = subprocess.run(
        [*tool, *options],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "transport.json").read_text())
    assert [one["contract"] for one in facts["rounds"]] == ["usual", "ours", "adapter"] * 2
    assert facts["ratios"].keys() == {"ours", "adapter"}
    assert (tmp_path / "transport.png").read_bytes().startswith(b"\x89PNG")
    assert "times the images/s" in done.stdout
