"""`lookonce up` before it has a Triton, and what it tells of the gateway."""

import shlex
import socket
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path

import httpx
import pytest
from tests.certificates import self_signed
from tests.cli.command import run, says_one_thing, started

from lookonce.access.keys import Client, changing, hash_of
from lookonce.cli.up import curl_for, facts_of
from lookonce.local.ports import Ports as TritonPorts
from lookonce.serving import Ports
from lookonce.settings import Settings

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "model_repository" / "cpu"
PICTURE = ROOT / "docs" / "images" / "shapes.jpg"


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("10.1.2.3", "10.1.2.3"),
        ("box.example", "box.example"),
    ],
)
def test_every_address_is_told_as_it_is_called_from_here(host: str, called: str) -> None:
    settings = Settings(server={"host": host}, admin={"host": host})
    assert facts_of(settings, Ports(1, 2, 3)) == {
        "REST": f"http://{called}:1/v1/detect",
        "page": f"http://{called}:1/",
        "documents": f"http://{called}:1/docs",
        "WebSocket": f"ws://{called}:1/v1/stream",
        "gRPC": f"{called}:2",
        "metrics": f"http://{called}:3/metrics",
    }


def test_tls_holds_for_all_but_the_admin_port(tmp_path: Path) -> None:
    facts = facts_of(Settings(tls=self_signed(tmp_path)), Ports(1, 2, 3))
    assert (facts["REST"], facts["WebSocket"]) == ("https://127.0.0.1:1/v1/detect", "wss://127.0.0.1:1/v1/stream")
    assert facts["metrics"] == "http://127.0.0.1:3/metrics"


def test_the_line_to_try_asks_for_no_more_than_is_needed() -> None:
    assert curl_for(Settings(), "URL").startswith("curl -H 'Content-Type: image/jpeg' --data-binary @")


def test_with_tls_and_keys_the_line_that_it_prints_works(tmp_path: Path) -> None:
    tls, keys = self_signed(tmp_path), tmp_path / "keys.json"
    with changing(keys) as clients:
        clients.append(Client("me", (hash_of("lo_mine"),)))
    variables = {
        "LOOKONCE_TLS__CERTIFICATE": str(tls.certificate),
        "LOOKONCE_TLS__KEY": str(tls.key),
        "LOOKONCE_KEYS__FILE": str(keys),
        "LOOKONCE_SERVER__HOST": "0.0.0.0",
    }
    ports = (f"--{door}-port=0" for door in ("http", "grpc", "admin"))
    with started("up", "--embedded", "--repository", MODELS, *ports, variables=variables) as process:
        (line,) = (line for line in islice(process.stdout, 7) if "try it" in line)
        words = shlex.split(line)[2:]
        assert words[:2] == ["curl", "-k"]
        headers = [word.split(": ") for before, word in pairwise(words) if before == "-H"]
        assert headers == [["X-API-Key", "KEY"], ["Content-Type", "image/jpeg"]]
        own = dict(headers) | {"X-API-Key": "lo_mine"}
        answer = httpx.post(words[-1], headers=own, content=PICTURE.read_bytes(), verify=False)  # noqa: S501
        assert answer.json()["model"]["name"] == "shapes"


def test_what_cannot_be_served_is_refused_before_triton_is_prepared(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    where = "--repository", MODELS, "--environment", environment, "--log", tmp_path / "log"
    for refused in (
        run("up", *where, variables={"LOOKONCE_SERVER__HOST": "0.0.0.0"}),
        run("up", *where, "--http-port", 7, "--grpc-port", 7),
        run("up", "--repository", tmp_path, *where[2:]),
    ):
        assert says_one_thing(refused).startswith(("settings-refused", "local-triton-failed"))
    assert not environment.exists()


def test_a_taken_port_of_the_gateway_is_told_before_triton_is_prepared(
    tmp_path: Path, free_ports: Callable[[], TritonPorts]
) -> None:
    options = [f"--triton-{door}-port={port}" for door, port in asdict(free_ports()).items()]
    where = "--repository", MODELS, "--environment", tmp_path / "environment", *options
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("up", *where, "--http-port", 0, "--grpc-port", port, "--admin-port", 0)
    assert done.returncode == 61
    assert f"port {port} of 127.0.0.1" in done.stderr
    assert "LOOKONCE_SERVER__GRPC_PORT" in done.stderr
    assert not (tmp_path / "environment").exists()
