"""`lookonce doctor`, as far as it needs no Triton."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.certificates import self_signed
from tests.cli.command import run

from lookonce.app import context_of
from lookonce.cli.doctor import Finding, Verdict, certificates, doors, gateway_at
from lookonce.errors import SettingsRefused
from lookonce.local.ports import Ports
from lookonce.settings import Settings, Tls

READY = b'{"status": "ready", "reasons": {}}'


@contextmanager
def saying(body: bytes, status: int = 200, host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server that answers this to whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Server((host, 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_what_is_wrong_is_said_and_how_to_mend_it(free_ports: Callable[[], Ports]) -> None:
    ports = free_ports()
    nowhere = {"LOOKONCE_TRITON__URL": f"127.0.0.1:{ports.grpc}", "LOOKONCE_ADMIN__PORT": str(ports.http)}
    done = run("doctor", variables=nowhere)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "bad Triton" in said
    assert "Is LOOKONCE_TRITON__URL right?" in said
    assert "good settings" in said
    assert "Traceback" not in done.stderr


def test_settings_that_cannot_be_are_a_finding() -> None:
    done = run("doctor", variables={"LOOKONCE_LOGS": "debug"})
    assert done.returncode == 1
    assert "bad  settings  the environment has LOOKONCE_LOGS" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("status", "body", "finding"),
    [
        (200, {"status": "ready", "reasons": {}}, (Verdict.GOOD, "a gateway serves here already and is ready.")),
        (
            503,
            {"status": "not ready", "reasons": {"triton": "it is away."}},
            (Verdict.BAD, "a gateway serves here already and is not ready. triton: it is away."),
        ),
    ],
)
def test_a_gateway_that_runs_already_is_known(status: int, body: object, finding: tuple[Verdict, str]) -> None:
    with saying(json.dumps(body).encode(), status) as port:
        assert gateway_at("127.0.0.1", port) == finding


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"null", b"<html>", b"{}", b'{"status": "ready", "reasons": []}'])
def test_another_server_on_the_port_is_no_gateway_and_in_the_way(body: bytes) -> None:
    with saying(body) as port:
        assert gateway_at("127.0.0.1", port) is None
        settings = Settings(admin={"port": port}, server={"http_port": 0, "grpc_port": 0})
        (told,) = (finding.words for finding in doors(settings) if finding.verdict is Verdict.BAD)
    assert told.startswith(f"port {port} of 127.0.0.1 cannot be opened (Address already in use); ")


@pytest.mark.parametrize("host", ["::1", "[::1]", "a b", "-", "no.such.host.invalid"])
def test_any_host_is_looked_at(host: str, free_ports: Callable[[], Ports]) -> None:
    assert gateway_at(host, free_ports().http) is None


def test_a_gateway_on_ipv6_is_found() -> None:
    with saying(READY, host="::1") as port:
        assert gateway_at("::1", port) == (Verdict.GOOD, "a gateway serves here already and is ready.")


def test_a_proxy_of_the_environment_is_not_asked(free_ports: Callable[[], Ports]) -> None:
    ports = free_ports()
    with saying(READY) as proxy:
        nowhere = {"LOOKONCE_TRITON__URL": f"127.0.0.1:{ports.grpc}", "LOOKONCE_ADMIN__PORT": str(ports.http)}
        done = run("doctor", variables=nowhere | {"HTTP_PROXY": f"http://127.0.0.1:{proxy}", "NO_PROXY": ""})
    assert "serves here already" not in done.stdout
    assert f"port {ports.http}  of 127.0.0.1 is free." in done.stdout


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [
        (90, Verdict.GOOD, "is good until 20"),
        (3, Verdict.MIND, "UTC. Renew it."),
        (-1, Verdict.BAD, "callers will refuse .*: certificate has expired. Make or renew it."),
    ],
)
def test_the_end_of_a_certificate_is_told(tmp_path: Path, days: int, verdict: Verdict, words: str) -> None:
    finding = only(certificates(Settings(tls=self_signed(tmp_path, days))))
    assert finding.verdict is verdict
    assert re.search(words, finding.words), finding.words


def test_files_that_are_no_certificate_and_key_are_told(tmp_path: Path) -> None:
    tls, other = self_signed(tmp_path), tmp_path / "other"
    other.mkdir()
    for key, words in (
        (self_signed(other).key, "do not go together"),
        (tls.certificate, "do not go together"),
        (tmp_path / "absent", "cannot be read (No such file or directory)"),
    ):
        finding = only(certificates(Settings(tls={"certificate": tls.certificate, "key": key})))
        assert finding.verdict is Verdict.BAD
        assert words in finding.words


def test_nobody_is_asked_for_the_pass_phrase_of_a_key(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, pass_phrase=b"secret")
    with pytest.raises(SettingsRefused, match=r"tls.key is encrypted .*write it without one"):
        context_of(tls)
    finding = only(certificates(Settings(tls=tls)))
    assert (finding.verdict, "is encrypted" in finding.words) == (Verdict.BAD, True)


def test_without_tls_no_certificate_is_looked_at() -> None:
    assert list(certificates(Settings(tls=Tls()))) == []
