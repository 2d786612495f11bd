"""`lookonce model activate` beside local servers that take the change, refuse it or are overtaken."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.cli.command import run, says_one_thing

from lookonce.card import Card
from lookonce.forge.repository import activate, publish, published
from lookonce.forge.staging import staging
from lookonce.local.endpoint import Endpoint, birth, forget, note
from lookonce.local.ports import Ports

FIRST, SECOND = sorted((os.getpid(), os.getppid()), key=str)
Load = Callable[[], str]


@pytest.fixture
def repository(tmp_path: Path, card_of: Callable[..., Card]) -> Path:
    root = tmp_path / "models"
    for version in (1, 2, 3):
        with staging(root, "echo") as folder:
            (folder / "model.onnx").write_bytes(b"a graph")
            publish(root, card_of("echo", version), folder)
    return root


@contextmanager
def listening(repository: Path, pid: int, notes: Path, load: Load) -> Iterator[str]:
    """A server that is found as a local Triton; `load` answers each load with a complaint, or with nothing."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            complaint = load() if self.path == "/v2/repository/models/echo/load" else "unknown path"
            body = json.dumps({"error": complaint}).encode()
            self.send_response(400 if complaint else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = Endpoint(str(repository), pid, birth(pid), Ports(server.server_port, pid, 1), "triton.log")
        note(endpoint, notes)
        try:
            yield endpoint.grpc_url
        finally:
            forget(endpoint, notes)
            server.shutdown()


def default_of(repository: Path) -> int:
    return published(repository, "echo").default_version


def test_every_local_triton_takes_the_change_whatever_folder_it_is_asked_from(
    repository: Path, notes: Path, tmp_path: Path
) -> None:
    took: list[int] = []

    def load() -> str:
        took.append(default_of(repository))
        return ""

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with listening(repository, FIRST, notes, load) as one, listening(repository, SECOND, notes, load) as other:
        done = run("model", "activate", "echo", 2, "--repository", "../models", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert f"The local Triton at {one} took it. The local Triton at {other} took it." in done.stdout
    assert took == [2, 2]


def test_where_one_refuses_all_go_back(repository: Path, notes: Path) -> None:
    willing: list[int] = []
    unwilling: list[int] = []

    def takes() -> str:
        willing.append(default_of(repository))
        return ""

    def refuses() -> str:
        unwilling.append(default_of(repository))
        return "no room" if unwilling[-1] == 2 else ""

    with listening(repository, FIRST, notes, takes), listening(repository, SECOND, notes, refuses):
        done = run("model", "activate", "echo", 2, "--repository", repository)
    assert done.returncode == 50
    told = "the local Triton did not load echo: no room. Its log is triton.log. Version 1 stays the default."
    assert says_one_thing(done) == f"local-triton-failed: {told}"
    assert (willing, unwilling) == ([2, 1], [2, 1])
    assert default_of(repository) == 1


def test_one_that_does_not_go_back_is_told(repository: Path, notes: Path) -> None:
    with listening(repository, FIRST, notes, lambda: "no room"):
        done = run("model", "activate", "echo", 2, "--repository", repository)
    assert "Version 1 stays the default. Going back failed too: the local Triton did not" in says_one_thing(done)
    assert default_of(repository) == 1


def test_a_change_that_another_made_meanwhile_is_not_taken_back(repository: Path, notes: Path) -> None:
    def is_overtaken() -> str:
        activate(repository, "echo", 3)
        return "no room"

    with listening(repository, FIRST, notes, is_overtaken):
        done = run("model", "activate", "echo", 2, "--repository", repository)
    assert done.returncode == 50
    assert "The repository was changed meanwhile and stays so, with version 3 the default." in says_one_thing(done)
    assert default_of(repository) == 3
