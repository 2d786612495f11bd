"""Settings: from the environment, frozen, and told in words where they contradict each other."""

import os
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from lookonce.cli.serve import config_to_text
from lookonce.errors import SettingsRefused
from lookonce.settings import is_loopback, read_settings, variables


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
        ({"LOOKONCE_LIMITS__MAX_IMAGES": "65"}, "MAX_IMAGES may not be above"),
        ({"LOOKONCE_SERVER__HOST": "0.0.0.0"}, "serving on 0.0.0.0 without keys would answer anybody"),
        ({"LOOKONCE_SERVER__HOST": "::"}, "serving on :: without keys would answer anybody"),
        ({"LOOKONCE_TRITON__URL": ""}, "LOOKONCE_TRITON__URL"),
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


def test_the_printed_config_is_read_back_as_the_same_settings(environment: dict[str, str]) -> None:
    environment |= {"LOOKONCE_MODELS__NAMES": "shapes,street", "LOOKONCE_SERVER__PUBLIC_METRICS": "false"}
    settings = read_settings()
    lines = [line for line in config_to_text(settings).splitlines() if not line.startswith("#")]
    printed = dict(line.split("=", 1) for line in lines)
    assert printed.keys() == variables().keys()
    environment |= {name: value for name, value in printed.items() if value}
    assert read_settings() == settings
