"""The file that runs a version in Triton's Python backend, beside a stand-in for the module that Triton gives it.

This environment has numpy 2, with which Triton's stub would answer nothing at all.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

Ask: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]
RUNTIME = Path("service/lookonce/forge/python_backend/model.py").resolve()
STAND_IN = "class TritonModelException(Exception): ..."


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Run a line of Python in the version's folder, after the runtime file was imported as Triton does."""
    (tmp_path / "model.py").write_bytes(RUNTIME.read_bytes())
    (tmp_path / "triton_python_backend_utils.py").write_text(STAND_IN)

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        program = f"import model\nprint(({line}))"
        command, variables = [sys.executable, "-c", program], os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run


def test_numpy_2_is_refused_with_what_to_install(ask: Ask) -> None:
    done = ask("model.TritonPythonModel().initialize({'model_config': '{}'})")
    assert np.__version__.startswith("2.")
    assert f"cannot answer with numpy {np.__version__}: every output would arrive empty" in done.stderr
    assert "Install numpy<2 into the environment that Triton runs in." in done.stderr


@pytest.mark.parametrize(
    ("config", "threads"),
    [
        ({"parameters": {"threads": {"string_value": "3"}}}, "3"),
        ({"parameters": {"threads": {"string_value": "0"}}}, "1"),
        ({"parameters": {"threads": {"string_value": "many"}}}, "cores"),
        ({"parameters": {}}, "cores"),
        ({}, "cores"),
    ],
)
def test_the_config_says_how_many_threads_else_the_cores_do(ask: Ask, config: dict[str, object], threads: str) -> None:
    told, cores = ask(f"model._threads({config!r}), model._cores()").stdout.strip("()\n").split(", ")
    assert told == (cores if threads == "cores" else threads)
    assert int(cores) >= 1


def test_it_imports_nothing_of_lookonce(ask: Ask) -> None:
    assert ask("[name for name in __import__('sys').modules if 'lookonce' in name]").stdout == "[]\n"


def test_it_leaves_no_bytecode_in_the_folder_that_was_signed(ask: Ask) -> None:
    bytecode = "model.Path(model.cache_from_source(model.__file__)).exists()"
    assert ask(f"{bytecode}, model._leave_no_bytecode(), {bytecode}").stdout == "(True, None, False)\n"
