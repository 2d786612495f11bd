"""`lookonce up` as its user meets it."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lookonce.local.environment import Environment
from lookonce.local.ports import Ports

pytestmark = pytest.mark.live
Up = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "shapes.jpg"


@pytest.fixture
def up(triton_environment: Environment, lookonce: Path, free_ports: Callable[[], Ports], tmp_path: Path) -> Up:
    """Starts the command in a folder of its own, as a terminal would: in a process group that Ctrl-C reaches."""

    @contextmanager
    def start(*options: str) -> Iterator["subprocess.Popen[str]"]:
        ports = free_ports()
        command = [lookonce, "up", "--repository", "models", "--environment", triton_environment.backends.parent]
        command += [f"--triton-http-port={ports.http}", f"--triton-grpc-port={ports.grpc}"]
        command += [f"--triton-metrics-port={ports.metrics}", "--http-port=0", "--grpc-port=0", "--admin-port=0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        own = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
        with subprocess.Popen(
            [*command, *options], cwd=tmp_path, env=own, text=True, start_new_session=True, **pipes
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return start


def said_until_ready(process: "subprocess.Popen[str]") -> str:
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C stops it" in line:
            break
    return "".join(lines)


def test_it_serves_until_ctrl_c_and_leaves_nothing(up: Up, gone: Callable[[Path], None], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_repository" / "cpu", tmp_path / "models")
    with up() as process:
        said = said_until_ready(process)
        log = Path(re.search(r"log\s+(\S+)", said)[1])
        answer = httpx.post(url_in(said), content=PICTURE.read_bytes(), headers={"Content-Type": "image/jpeg"})
        assert {found["label"] for found in answer.json()["detections"]} >= {"hexagon", "cross", "circle"}
        assert "Started GRPCInferenceService" in (tmp_path / log).read_text()
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "Stopping Triton" in complaints
    assert "Traceback" not in complaints
    gone(tmp_path)


def test_a_triton_that_dies_is_noticed(
    up: Up, lay_model: Callable[..., Path], gone: Callable[[Path], None], tmp_path: Path
) -> None:
    lay_model(tmp_path / "models", "echo")
    with up() as process:
        said_until_ready(process)
        (note,) = (tmp_path / "lookonce").glob("*.json")
        os.kill(int(re.search(r'"pid": (\d+)', note.read_text())[1]), signal.SIGKILL)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 50
    assert "Triton died of SIGKILL; its log is .lookonce/triton.log." in " ".join(complaints.split())
    assert not note.exists()
    gone(tmp_path)


def test_sigterm_stops_it_too(
    up: Up, lay_model: Callable[..., Path], gone: Callable[[Path], None], tmp_path: Path
) -> None:
    lay_model(tmp_path / "models", "echo")
    with up() as process:
        said_until_ready(process)
        process.terminate()
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "Traceback" not in complaints
    gone(tmp_path)


def test_without_triton_the_models_run_in_the_gateway_itself(up: Up, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_repository" / "cpu", tmp_path / "models")
    with up("--embedded") as process:
        said = said_until_ready(process)
        assert "Triton" not in said
        answer = httpx.post(url_in(said), content=PICTURE.read_bytes(), headers={"Content-Type": "image/jpeg"})
        assert answer.json()["model"]["name"] == "shapes"
        process.terminate()
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0
    assert complaints.startswith("Without Triton, in this process: as was asked.")


def url_in(said: str) -> str:
    return re.search(r"try it\s+curl .* (http\S+)", said)[1]


def test_a_repository_without_models_is_one_sentence_and_an_exit_code(up: Up, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with up() as process:
        said, complaints = process.communicate(timeout=60)
    assert process.returncode == 50
    assert said == ""
    assert "models holds no model; publish one with `lookonce model import`." in " ".join(complaints.split())
    assert "Traceback" not in complaints
