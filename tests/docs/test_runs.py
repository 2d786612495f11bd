"""Every line that a page shows is run against a real gateway, and prints what the page says."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest
from tests.docs.pages import API, README, ROOT, SERVING, Shown, as_json, blocks, differences, section, shown_in, table
from websockets.asyncio.client import connect

from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub

BIN: Final = Path(sys.executable).parent
RUN: Final = ("curl ", "(printf ", "lookonce detect ", "python docs/examples/")
LINES: Final = [shown for page in (API, SERVING, README) for shown in shown_in(page) if shown.line.startswith(RUN)]
PYTHON: Final = [block for page in (API, README) for block in blocks(page.read_text(), "python")]
OURS: Final = [block for block in PYTHON if "from lookonce" in block]
CURL_SAYS_REFUSED: Final = 22
PATIENCE_S: Final = 60
TOLD: Final = re.compile(r"^ *(REST|gRPC|metrics) .*?127\.0\.0\.1:(\d+)")
OF_EVERY_LINE: Final = {"event", "timestamp", "level"}
PICTURE: Final = ROOT / "docs" / "images" / "shapes.jpg"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway's ports by what `lookonce up` calls them, its log, and a folder to run commands in."""

    ports: dict[str, str]
    log: Path
    desk: Path

    def here(self, text: str) -> str:
        """The same text about this gateway."""
        for port, name in ((8080, "REST"), (8081, "gRPC"), (8082, "metrics")):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[name]}")
        return text

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        own = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "CURL_HOME": str(self.desk), "COLUMNS": "80"}
        return subprocess.run(
            [*words],
            cwd=self.desk,
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def lines(self) -> list[dict[str, Any]]:
        told = [as_json(line) for line in self.log.read_text().splitlines()]
        return [line for line in told if isinstance(line, dict)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """What `lookonce up` starts, on free ports, over the sample model in its own process."""
    desk = tmp_path_factory.mktemp("desk")
    for name in ("docs", "model_repository"):
        (desk / name).symlink_to(ROOT / name)
    (desk / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
    words = [str(BIN / "lookonce"), "up", "--embedded", *(f"--{port}-port=0" for port in ("http", "grpc", "admin"))]
    log = desk / "log"
    with log.open("w") as told:
        pipes = {"stdout": subprocess.PIPE, "stderr": told}
        process = subprocess.Popen(
            words, cwd=desk, env=os.environ | {"LOOKONCE_LOGS__FORMAT": "json"}, text=True, **pipes
        )
    try:
        yield Gateway(ports_of(process), log, desk)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def ports_of(process: "subprocess.Popen[str]") -> dict[str, str]:
    ports = dict[str, str]()
    while len(ports) < 3:
        line = process.stdout.readline()
        assert line, "the gateway ended before it served"
        ports |= dict(TOLD.findall(line))
    return ports


@pytest.fixture(scope="module")
def curl() -> None:
    if shutil.which("curl"):
        return
    pytest.skip("there is no curl, which the documents show")


def worded(text: str) -> str:
    """The text with every number alike."""
    return re.sub(r"\d[\d.]*", "0", text).strip()


@pytest.mark.parametrize("shown", LINES, ids=str)
def test_every_line_does_what_its_page_shows(shown: Shown, gateway: Gateway, curl: None) -> None:
    done = gateway.run("bash", "-c", f"set -o pipefail; {gateway.here(shown.line)}")
    answer = as_json(shown.output)
    refused = isinstance(answer, dict) and "code" in answer
    assert done.returncode == (CURL_SAYS_REFUSED if refused else 0), done.stdout + done.stderr
    if shown.page == README:
        return
    if answer is None:
        assert worded(done.stdout) == worded(shown.output)
    else:
        assert differences(answer, json.loads(done.stdout)) == []


def test_what_is_drawn_and_what_is_saved_is_there(gateway: Gateway, curl: None) -> None:
    saved = {name: (gateway.desk / name).read_bytes() for name in ("annotated.jpg", "models.json")}
    assert saved["annotated.jpg"].startswith(b"\xff\xd8")
    assert json.loads(saved["models.json"])["default"] == "shapes"


@pytest.mark.parametrize("code", OURS)
def test_every_piece_of_python_runs(code: str, gateway: Gateway) -> None:
    done = gateway.run(sys.executable, "-c", gateway.here(code))
    assert done.returncode == 0, done.stderr
    assert "hexagon" in done.stdout


def test_every_address_that_is_named_is_a_route(gateway: Gateway) -> None:
    known = httpx.get(gateway.here("http://127.0.0.1:8080/openapi.json")).json()["paths"]
    patterns = [re.sub(r"\{\w+\}", "[^/]+", path) for path in known]
    named = re.findall(r"http://(?:127\.0\.0\.1|gateway):8080(/[\w/]+)", API.read_text())
    assert len(named) > 10
    routes = [path for path in named if path != "/compat/roboflow"]
    assert [path for path in routes if not any(re.fullmatch(pattern, path) for pattern in patterns)] == []
    assert any(path.startswith("/compat/roboflow/") for path in known)
    posted = re.findall(r"`POST (/[^`]+)`", API.read_text())
    assert [path for path in posted if "post" not in known.get(path, {})] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`GET (/[^`{]*)`", API.read_text()))))
def test_every_page_that_is_named_is_there(path: str, gateway: Gateway) -> None:
    assert httpx.get(gateway.here(f"http://127.0.0.1:8080{path}")).status_code == 200


async def test_a_websocket_says_what_its_messages_show(gateway: Gateway) -> None:
    setup, ready, found, bad = blocks(section(API, "WebSocket"), "json")
    url = gateway.here("ws://127.0.0.1:8080/v1/stream")
    async with asyncio.timeout(PATIENCE_S), connect(url, proxy=None) as socket:
        for sent, shown in ((setup, ready), (PICTURE.read_bytes(), found), (b"no picture", bad)):
            await socket.send(sent)
            assert differences(json.loads(shown), json.loads(await socket.recv())) == []


def ask_over_grpc(address: str) -> None:
    """One call that is answered and one that is not, and a stream."""
    picture = PICTURE.read_bytes()
    with grpc.insecure_channel(address) as channel:
        stub = DetectionStub(channel)
        stub.Detect(wire.DetectRequest(images=[picture]), timeout=PATIENCE_S)
        with pytest.raises(grpc.RpcError):
            stub.Detect(wire.DetectRequest(images=[b"no picture"]), timeout=PATIENCE_S)
        frames = iter([wire.DetectStreamRequest(frame=wire.Frame(image=picture))])
        assert len(list(stub.DetectStream(frames, timeout=PATIENCE_S))) == 1


async def test_the_log_has_the_fields_of_the_table(gateway: Gateway) -> None:
    url = gateway.here("http://127.0.0.1:8080/v1/detect")
    for sent in (PICTURE.read_bytes(), b"no picture"):
        await asyncio.to_thread(httpx.post, url, content=sent, timeout=PATIENCE_S)
    await asyncio.to_thread(ask_over_grpc, gateway.here("127.0.0.1:8081"))
    async with connect(gateway.here("ws://127.0.0.1:8080/v1/stream"), proxy=None) as socket:
        await socket.send(PICTURE.read_bytes())
        await socket.recv()
    rows = table(SERVING.read_text(), "field")
    documented = {
        event: {row[0].strip("`") for row in rows if row[place] == "yes"}
        for place, event in enumerate(("request", "call", "stream"), 1)
    }
    deadline = time.monotonic() + PATIENCE_S
    while (logged := fields_of(gateway.lines())) != documented and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert logged == documented


def fields_of(lines: list[dict[str, Any]]) -> dict[str, set[str]]:
    events = ("request", "call", "stream")
    each = {event: [line.keys() for line in lines if line["event"] == event] for event in events}
    return {event: set().union(*keys) - OF_EVERY_LINE for event, keys in each.items()}


def test_the_metrics_are_those_of_the_table(gateway: Gateway) -> None:
    httpx.get(gateway.here("http://127.0.0.1:8080/v1/models"))
    scraped = httpx.get(gateway.here("http://127.0.0.1:8082/metrics")).text
    names = {name for name in re.findall(r"^# TYPE (\w+) ", scraped, re.MULTILINE) if not name.endswith("_created")}
    assert {row[0].strip("`") for row in table(SERVING.read_text(), "metric")} == names
