"""Builds that are cut short: a full disk, a signal, a second builder."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookonce.errors import EngineFailed
from lookonce.forge.engine import make_engine, timing_cache
from lookonce.forge.gpu import Gpu
from lookonce.forge.progress import unheard

Shop = Any
FilesUnder = Callable[[Path], dict[str, str]]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A cache with room for the plan and not for the pictures it is tried on."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(mounted)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {run.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.usefixtures("untouched")
def test_a_full_disk_is_named_and_nothing_is_left_on_it(shop: Shop, tiny_disk: Path) -> None:
    with pytest.raises(EngineFailed, match="tiny cannot be used: No space left on device; mend that, or name another"):
        make_engine(shop.order(cache=tiny_disk), unheard)
    assert {path.name for path in tiny_disk.iterdir()} <= {".lock", "logs"} | {timings(tiny_disk)}


def timings(cache: Path) -> str:
    return timing_cache(cache, "10.11.0.33", Gpu("8.6", "NVIDIA RTX A5000")).name


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        ({"build": "out of memory"}, 30, "engine-failed: trtexec could not build the plan, it ended with exit code 1:"),
        ({"infer": "wrongly"}, 13, "parity-broken: 0.1% of the plan's detections agree"),
        ({"version": "8601"}, 30, "engine-failed: TensorRT 8.6.1.33 is too old"),
    ],
)
def test_a_person_reads_one_sentence_and_a_script_an_exit_code(
    shop: Shop, behaviour: dict[str, str], code: int, said: str
) -> None:
    shop.trtexec_that(**behaviour)
    run = shop.lookonce()
    assert run.returncode == code
    assert run.stderr.strip().startswith(said)
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_of_two_builds_of_one_plan_at_once_one_builds_and_both_publish(shop: Shop) -> None:
    shop.trtexec_that(build_s=1)
    both = [subprocess.Popen(shop.command(), env=shop.variables(), stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert b"engine-failed" not in process.communicate(timeout=120)[1]
    assert [process.returncode for process in both] == [0, 0]
    assert len(shop.calls("--onnx")) == 1
    assert (shop.version / "model.plan").exists()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build_that_is_stopped_leaves_nothing(shop: Shop, number: int, code: int) -> None:
    process, trtexec = _building(shop)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert not _alive(trtexec)


def test_a_build_whose_parent_is_killed_outright_does_not_outlive_it(shop: Shop) -> None:
    process, trtexec = _building(shop)
    process.kill()
    process.communicate(timeout=60)
    _until(lambda: not _alive(trtexec))


def _building(shop: Shop) -> tuple[subprocess.Popen[str], int]:
    """A real `lookonce` whose trtexec has begun to write."""
    shop.trtexec_that(build="slowly")
    process = subprocess.Popen(shop.command(), env=shop.variables(), stderr=subprocess.PIPE, text=True)
    _until(lambda: process.poll() is not None or any(shop.cache.glob(".building-*/model.plan")))
    assert process.poll() is None, process.communicate()[1]
    return process, int(shop.calls("--onnx")[0]["pid"])


def _until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline_s, "it did not happen within 60 s"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
