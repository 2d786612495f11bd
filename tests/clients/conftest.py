"""A gateway in a process of its own, for clients that know nothing of it. `run.sh` runs these tests."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import pytest
import requests

ROOT = Path(__file__).parents[2]
Found: TypeAlias = tuple[str, float, tuple[float, float, float, float]]
"""Label, score and box x1 y1 x2 y2."""


def until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while requests.get(f"{url}/readyz", timeout=10).status_code != 200:
        assert time.monotonic() < deadline, "the gateway did not become ready"
        time.sleep(0.05)


@contextmanager
def served(*arguments: str, **variables: str) -> Iterator[str]:
    """Where a gateway listens, from the moment that it is ready until it has exited."""
    command = [ROOT / ".venv" / "bin" / "python", ROOT / "tests" / "clients" / "gateway.py", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | variables)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the gateway ended with {process.wait(30)} before it was ready"
        url = json.loads(line)["url"]
        until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with served() as url:
        yield url


@pytest.fixture(scope="session")
def address_of_fake() -> Iterator[str]:
    with served("--fake") as url:
        yield url


@pytest.fixture(scope="session")
def address_with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that knows the key `secret` and no other."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    stored = f"sha256:{sha256(b'secret').hexdigest()}"
    file.write_text(json.dumps({"clients": [{"name": "stranger", "keys": [stored]}]}))
    with served("--fake", LOOKONCE_KEYS__FILE=str(file)) as url:
        yield url


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shapes that the sample model knows, 480x360, as a JPEG file."""
    pixels = np.full((360, 480, 3), (200, 215, 225), np.uint8)
    cv2.circle(pixels, (110, 120), 60, (40, 60, 200), -1)
    cv2.rectangle(pixels, (250, 60), (370, 180), (180, 90, 30), -1)
    cv2.fillPoly(pixels, [np.array([(240, 230), (330, 340), (150, 340)])], (60, 160, 60))
    file = tmp_path_factory.mktemp("pictures") / "shapes.jpg"
    cv2.imwrite(str(file), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return file


@pytest.fixture(scope="session")
def known(address: str, picture: Path) -> list[Found]:
    """What our own route finds in the picture: the measure for every other one."""
    as_jpeg = {"Content-Type": "image/jpeg"}
    answer = requests.post(f"{address}/v1/detect", picture.read_bytes(), headers=as_jpeg, timeout=30)
    assert answer.status_code == 200, answer.text
    found = [(each["label"], each["confidence"], tuple(each["box"].values())) for each in answer.json()["detections"]]
    assert {label for label, _, _ in found} == {"circle", "square", "triangle"}
    return found


@pytest.fixture(scope="session")
def assert_same(known: list[Found]) -> Callable[[list[Found]], None]:
    """Fails unless these are the known detections, in the same order; `box_px` is what rounding may move."""

    def check(found: list[Found], box_px: float = 0.5) -> None:
        assert [label for label, _, _ in found] == [label for label, _, _ in known]
        for (_, score, box), (_, known_score, known_box) in zip(found, known, strict=True):
            assert score == pytest.approx(known_score, abs=1e-4)
            assert box == pytest.approx(known_box, abs=box_px + 1e-6)

    return check
