import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lookonce.local.environment import Environment

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "bench"
SECTIONS = "floor", "crowd", "wire"


def test_the_bench_measures_judges_and_draws_and_leaves_nothing_behind(
    triton_environment: Environment, tmp_path: Path
) -> None:
    done = ran("--quick", "--only", *SECTIONS, "--environment", triton_environment.backends.parent, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "results" / "results.json").read_text())
    asked = {(load["section"], load["subject"], load["way"], load["callers"]) for load in facts["loads"]}
    assert asked == {
        ("floor", "shared memory", "REST raw", 8),
        ("floor", "gRPC", "REST raw", 8),
        ("floor", "conventional", "multipart", 8),
        ("crowd", "gRPC", "REST raw", 8),
        ("crowd", "gRPC", "REST raw", 64),
    }
    assert all(load["images_per_s"] > 0 and load["cpu_ms"] > 0 for load in facts["loads"])
    assert len(facts["bars"]) == 7
    assert all(bar["median"] > 0 for bar in facts["bars"])
    assert "gateway CPU ÷ bare decode, over gRPC" in done.stdout
    pictures = list((tmp_path / "results").glob("*.png"))
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "desks").iterdir()) == []


def test_an_unknown_section_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = ran("--only", "speed", folder=tmp_path)
    assert done.returncode == 2
    assert "invalid choice: 'speed' (choose from" in done.stderr
    assert "pinned" in done.stderr


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy",
        b'HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n{"results":[{"error":{"code":"x"}}]}',
        b"",
    ],
)
def test_an_answer_that_is_no_success_fails_the_callers(answer: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"a picture")
    with serving(answer) as port:
        order = {"way": "REST raw", "port": port, "watch": os.getpid(), "picture": str(picture), "duration_s": 0.1}
        command = [sys.executable, TOOL / "callers.py", json.dumps(order)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "a caller failed with Connection" in done.stderr
    assert "Traceback" not in done.stderr


def ran(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "desks").mkdir()
    return subprocess.run(
        [sys.executable, TOOL, *words, "--results", folder / "results"],
        cwd=folder,
        env=os.environ | {"COLUMNS": "150", "TMPDIR": str(folder / "desks")},
        capture_output=True,
        text=True,
        check=False,
    )


def left_behind(folder: Path) -> list[str]:
    """The processes that were started for this folder and still are."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
    return found


@contextmanager
def serving(answer: bytes) -> Iterator[int]:
    """A server that says the same to whoever asks, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(2**16)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
