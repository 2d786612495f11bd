import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lookonce.errors import LocalTritonFailed
from lookonce.local.endpoint import (
    Endpoint,
    birth,
    forget,
    is_ready,
    note,
    notes_folder,
    reload_model,
    running,
)
from lookonce.local.ports import Ports


@pytest.fixture
def endpoint(tmp_path: Path, free_ports: Callable[[], Ports]) -> Endpoint:
    """A note about a process that lives: this one."""
    return Endpoint(str(tmp_path / "models"), os.getpid(), birth(os.getpid()), free_ports(), str(tmp_path / "log"))


def test_a_running_triton_is_found_by_its_repository(endpoint: Endpoint, tmp_path: Path) -> None:
    note(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) == (endpoint,)
    assert running(tmp_path / "elsewhere" / ".." / "models", tmp_path) == (endpoint,)
    assert running(tmp_path / "other", tmp_path) == ()


def test_a_forgotten_triton_is_not_found(endpoint: Endpoint, tmp_path: Path) -> None:
    note(endpoint, tmp_path)
    forget(endpoint, tmp_path)
    forget(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) == ()


def test_a_later_triton_s_note_is_not_taken_away(endpoint: Endpoint, tmp_path: Path) -> None:
    later = replace(endpoint, ports=Ports(1, 2, 3))
    note(endpoint, tmp_path)
    note(later, tmp_path)
    forget(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) == (later,)


def test_a_note_of_a_dead_process_is_ignored(endpoint: Endpoint, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        stale = replace(endpoint, pid=dead.pid, born=birth(dead.pid))
    path = note(stale, tmp_path)
    assert running(tmp_path / "models", tmp_path) == ()
    assert not path.exists()


def test_a_note_whose_pid_went_to_another_process_is_ignored(endpoint: Endpoint, tmp_path: Path) -> None:
    note(replace(endpoint, born="1"), tmp_path)
    assert running(tmp_path / "models", tmp_path) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ports": 3}', '{"ports": {"http": 1}}', "null"])
def test_a_damaged_note_is_ignored(endpoint: Endpoint, tmp_path: Path, text: str) -> None:
    path = note(endpoint, tmp_path)
    path.write_text(text)
    assert running(tmp_path / "models", tmp_path) == ()
    assert not path.exists()


def test_every_triton_on_a_repository_is_found_whichever_came_first(endpoint: Endpoint, tmp_path: Path) -> None:
    parent = replace(endpoint, pid=os.getppid(), born=birth(os.getppid()))
    elsewhere = replace(endpoint, repository=str(tmp_path / "other"))
    for each in (endpoint, parent, elsewhere):
        note(each, tmp_path)
    assert set(running(tmp_path / "models", tmp_path)) == {endpoint, parent}
    forget(endpoint, tmp_path)
    assert running(tmp_path / "models", tmp_path) == (parent,)
    assert running(tmp_path / "other", tmp_path) == (elsewhere,)


def test_notes_lie_with_the_user_and_not_where_the_command_is_called(endpoint: Endpoint, notes: Path) -> None:
    assert notes_folder() == notes
    path = note(endpoint, notes_folder())
    assert path.parent == notes
    assert running(Path(endpoint.repository)) == (endpoint,)
    forget(endpoint, notes_folder())
    assert running(Path(endpoint.repository)) == ()


@pytest.mark.parametrize("runtime", ["", "relative", "/nowhere"])
def test_without_a_runtime_folder_the_cache_takes_the_notes(runtime: str, tmp_path: Path) -> None:
    asks = "from lookonce.local.endpoint import notes_folder; print(notes_folder())"
    for own, folder in (({"XDG_CACHE_HOME": "/c"}, "/c"), ({"HOME": str(tmp_path)}, f"{tmp_path}/.cache")):
        variables = {"XDG_RUNTIME_DIR": runtime, **own}
        asked = subprocess.run([sys.executable, "-c", asks], env=variables, capture_output=True, text=True, check=True)
        assert asked.stdout.strip() == f"{folder}/lookonce/running"


def test_a_folder_that_cannot_be_written_says_so(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalTritonFailed, match=r"cannot be written .*XDG_RUNTIME_DIR"):
        note(endpoint, tmp_path / "file" / "lookonce")


def test_a_note_is_whole_or_not_there(endpoint: Endpoint, tmp_path: Path) -> None:
    path = note(endpoint, tmp_path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == [path]


def test_a_triton_that_does_not_answer_cannot_reload(endpoint: Endpoint) -> None:
    assert not is_ready(endpoint)
    with pytest.raises(LocalTritonFailed, match="does not answer"):
        reload_model(endpoint, "echo")
