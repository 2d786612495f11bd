"""`lookonce serve`, as far as it needs no Triton."""

import socket
from pathlib import Path

from tests.cli.command import run, says_one_thing

from lookonce.settings import variables


def test_every_setting_is_printed() -> None:
    done = run("serve", "--print-config", "--http-port", "9999")
    names = [line.partition("=")[0].removeprefix("#") for line in done.stdout.splitlines() if not line.startswith("# ")]
    assert names == list(variables())
    assert "\n#LOOKONCE_KEYS__FILE=\n" in done.stdout
    assert "LOOKONCE_SERVER__HTTP_PORT=9999" in done.stdout


def test_serving_strangers_without_keys_is_refused() -> None:
    assert "without keys would answer anybody" in says_one_thing(run("serve", "--host", "0.0.0.0"))


def test_a_taken_port_is_named_with_what_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run("serve", "--admin-port", port, "--http-port", 0, "--grpc-port", 0)
    assert said.returncode == 61
    assert f"port {port} of 127.0.0.1 cannot be opened (Address already in use)" in said.stderr
    assert "LOOKONCE_ADMIN__PORT" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_key_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run("serve", "--keys", tmp_path / "keys.json")
    assert done.returncode == 60
    assert "keys.json" in says_one_thing(done)
