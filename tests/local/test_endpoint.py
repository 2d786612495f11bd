import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lookonce.errors import LocalTritonFailed
from lookonce.local.endpoint import Endpoint, birth, forget, is_ready, note, reload_model, running
from lookonce.local.ports import Ports


@pytest.fixture
def endpoint(tmp_path: Path, free_ports: Callable[[], Ports]) -> Endpoint:
    """A note about a process that lives: this one."""
    return Endpoint(str(tmp_path / "models"), os.getpid(), birth(os.getpid()), free_ports(), str(tmp_path / "log"))


def test_a_running_triton_is_found_by_its_repository(endpoint: Endpoint, tmp_path: Path) -> None:
    note(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) == endpoint
    assert running(tmp_path / "elsewhere" / ".." / "models", tmp_path) == endpoint
    assert running(tmp_path / "other", tmp_path) is None


def test_a_forgotten_triton_is_not_found(endpoint: Endpoint, tmp_path: Path) -> None:
    note(endpoint, tmp_path)
    forget(endpoint, tmp_path)
    forget(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) is None


def test_a_later_triton_s_note_is_not_taken_away(endpoint: Endpoint, tmp_path: Path) -> None:
    later = replace(endpoint, ports=Ports(1, 2, 3))
    note(endpoint, tmp_path)
    note(later, tmp_path)
    forget(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) == later


def test_a_note_of_a_dead_process_is_ignored(endpoint: Endpoint, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        stale = replace(endpoint, pid=dead.pid, born=birth(dead.pid))
    note(stale, tmp_path)
    assert running(tmp_path / "models", tmp_path) is None


def test_a_note_whose_pid_went_to_another_process_is_ignored(endpoint: Endpoint, tmp_path: Path) -> None:
    note(replace(endpoint, born="1"), tmp_path)
    assert running(tmp_path / "models", tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ports": 3}', '{"ports": {"http": 1}}', "null"])
def test_a_damaged_note_is_ignored(endpoint: Endpoint, tmp_path: Path, text: str) -> None:
    note(endpoint, tmp_path).write_text(text)
    assert running(tmp_path / "models", tmp_path) is None


def test_a_note_is_whole_or_not_there(endpoint: Endpoint, tmp_path: Path) -> None:
    path = note(endpoint, tmp_path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == [path]


def test_a_triton_that_does_not_answer_cannot_reload(endpoint: Endpoint) -> None:
    assert not is_ready(endpoint)
    with pytest.raises(LocalTritonFailed, match="does not answer"):
        reload_model(endpoint, "echo")
