"""Settings: from the environment, frozen, and told in words where they contradict each other."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from lookonce.cli.serve import config_to_text
from lookonce.errors import SettingsRefused
from lookonce.settings import Settings, is_loopback, read_each, read_settings, variables


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """What is put in here is in the environment too, until the test ends."""
    before = dict(os.environ)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


def test_the_environment_is_read_and_what_is_given_wins(environment: dict[str, str]) -> None:
    environment |= {"LOOKONCE_SERVER__HTTP_PORT": "9000", "LOOKONCE_SERVER__GRPC_PORT": "9001"}
    server = read_settings(server={"http_port": 7000}).server
    assert (server.http_port, server.grpc_port) == (7000, 9001)


def test_a_list_is_written_with_commas(environment: dict[str, str]) -> None:
    environment |= {"LOOKONCE_TRITON__URL": "one:8001, two:8001", "LOOKONCE_URLS__HOSTS": "*.example.com"}
    settings = read_settings()
    assert settings.triton.url == ("one:8001", "two:8001")
    assert settings.urls.hosts == ("*.example.com",)


def test_what_kubernetes_puts_beside_a_service_called_lookonce_does_no_harm(environment: dict[str, str]) -> None:
    environment |= {"LOOKONCE_PORT": "tcp://10.0.0.1:8080", "LOOKONCE_SERVICE_HOST": "10.0.0.1"}
    assert read_settings().server.http_port == 8080


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        read_settings().limits.max_bytes = 1


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"LOOKONCE_LIMITS__MAX_BITES": "1"}, "LOOKONCE_LIMITS__MAX_BITES, which is no setting; did you mean"),
        ({"LOOKONCE_XYZ__ABC": "1"}, "is no setting; `lookonce serve --print-config`"),
        ({"LOOKONCE_SERVER__HTTP_PORT": "lots"}, "LOOKONCE_SERVER__HTTP_PORT: Input should be a valid integer"),
        ({"LOOKONCE_SERVER__HTTP_PORT": "70000"}, "LOOKONCE_SERVER__HTTP_PORT: Input should be less than"),
        ({"LOOKONCE_TIMEOUTS__GRACE_S": "0"}, "LOOKONCE_TIMEOUTS__GRACE_S: Input should be greater than 0"),
        ({"LOOKONCE_TLS__KEY": "key.pem"}, "TLS needs both"),
        (
            {"LOOKONCE_LIMITS__MAX_BYTES": "33554433"},
            "MAX_BODY_BYTES is 536870912 and a full request, MAX_IMAGES times",
        ),
        ({"LOOKONCE_LIMITS__MAX_IMAGES": "1001"}, "LOOKONCE_LIMITS__MAX_IMAGES: Input should be less than or equal"),
        ({"LOOKONCE_SERVER__HOST": "0.0.0.0"}, "serving on 0.0.0.0 without keys would answer anybody"),
        ({"LOOKONCE_SERVER__HOST": "::"}, "serving on :: without keys would answer anybody"),
        ({"LOOKONCE_TRITON__URL": ","}, "LOOKONCE_TRITON__URL"),
        ({"LOOKONCE_TIMEOUTS__MAX_REQUEST_S": "1"}, "LOOKONCE_TIMEOUTS__REQUEST_S is 5 and may not be above"),
        ({"LOOKONCE_SERVER__HTTP_PORT": "8081"}, "are 8081, 8081 and 8082; give each a port of its own"),
        ({"LOOKONCE_ADMIN__PORT": "8080"}, "are 8080, 8081 and 8080; give each a port of its own"),
        ({"LOOKONCE_TRITON": "host:8001"}, "LOOKONCE_TRITON, which is no setting; did you mean LOOKONCE_TRITON__URL"),
        ({"LOOKONCE_LOGS": "debug"}, "LOOKONCE_LOGS, which is no setting; did you mean LOOKONCE_LOGS__LEVEL or"),
        ({"lookonce_logs": "debug"}, "lookonce_logs, which is no setting; did you mean LOOKONCE_LOGS__LEVEL or"),
        (
            {"LOOKONCE_TRITON__TRANSPORT": "shared-memory", "LOOKONCE_TRITON__URL": "a:1,dns:///b:1"},
            "shared-memory needs a Triton on this machine, and dns:///b:1 may be several on others",
        ),
        ({"LOOKONCE_KEYS": "{}"}, "LOOKONCE_KEYS, which is no setting; did you mean LOOKONCE_KEYS__FILE or"),
    ],
)
def test_what_cannot_be_is_refused_in_words(environment: dict[str, str], variables: dict[str, str], words: str) -> None:
    environment |= variables
    with pytest.raises(SettingsRefused) as refused:
        read_settings()
    assert words in str(refused.value)
    assert str(refused.value).endswith((".", "?"))


@pytest.mark.parametrize("how", [{"LOOKONCE_KEYS__ANONYMOUS": "true"}, {"LOOKONCE_KEYS__FILE": "keys.json"}])
def test_serving_strangers_is_possible_when_it_is_meant(environment: dict[str, str], how: dict[str, str]) -> None:
    environment |= {"LOOKONCE_SERVER__HOST": "0.0.0.0"} | how
    assert read_settings().server.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com", "")),
    ],
)
def test_loopback_is_known(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one


TRITONS = ["triton:8001", "10.0.0.1:8001", "[::1]:8001", "dns:///triton.lookonce.svc:8001", "my_triton-1:1", "a:1,b:2"]
NO_TRITONS = ["http://triton:8001", "grpc://triton:8001", "triton", "triton:", ":8001", "::1:8001", "triton:http"]
NO_TRITONS += ["triton:0", "triton:65536", "dns://triton:8001", "dns:///triton", "triton:8001/v2", "a b:1", "a:1,b"]


@pytest.mark.parametrize("url", TRITONS)
def test_triton_is_where_grpc_finds_it(url: str) -> None:
    assert ",".join(read_settings(triton={"url": url}).triton.url) == url


@pytest.mark.parametrize("url", NO_TRITONS)
def test_where_grpc_would_look_for_ever_is_refused(url: str) -> None:
    with pytest.raises(SettingsRefused, match=r"LOOKONCE_TRITON__URL: .* is no address .*; write host:port or dns:///"):
        read_settings(triton={"url": url})


def test_ports_that_are_any_may_be_the_same(environment: dict[str, str]) -> None:
    environment |= {"LOOKONCE_SERVER__HTTP_PORT": "0", "LOOKONCE_SERVER__GRPC_PORT": "0", "LOOKONCE_ADMIN__PORT": "0"}
    assert read_settings().admin.port == 0


def test_a_variable_with_nothing_in_it_is_not_set(environment: dict[str, str]) -> None:
    environment |= dict.fromkeys(variables(), "")
    assert read_settings() == Settings()


def test_who_opens_no_door_need_not_say_who_may_come_in(environment: dict[str, str]) -> None:
    environment |= {"LOOKONCE_SERVER__HOST": "0.0.0.0", "LOOKONCE_LIMITS__THREADS": "3"}
    assert read_each().limits.threads == 3
    with pytest.raises(SettingsRefused, match="THREADS"):
        read_each(limits={"threads": -1})


SET: dict[str, dict[str, object]] = {
    "server": {"origins": "*", "public_metrics": False},
    "models": {"default": "a b", "names": "it's, $HOME,`x`"},
    "keys": {"file": "/some where/keys.json"},
}


@pytest.mark.parametrize("given", [{}, SET], ids=["nothing is set", "much is set"])
def test_the_printed_config_gives_the_same_settings_to_the_shell_that_reads_it(
    tmp_path: Path, environment: dict[str, str], given: dict[str, dict[str, object]]
) -> None:
    settings, file = read_settings(**given), tmp_path / "gateway.env"
    file.write_text(config_to_text(settings))
    read = ["sh", "-euc", f"set -a; . {file}; exec env -0"]
    told = subprocess.run(read, capture_output=True, text=True, check=True, timeout=30).stdout.split("\0")
    environment |= dict(line.split("=", 1) for line in told if line.startswith("LOOKONCE_"))
    assert read_settings() == settings
