"""Every knob of the gateway, frozen. Each is an environment variable: LOOKONCE_LIMITS__MAX_BYTES is `limits.max_bytes`.

No name is without the double underscore, for Kubernetes puts `LOOKONCE_PORT=tcp://…` beside a service called lookonce.
"""

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lookonce.errors import SettingsRefused

PREFIX, BETWEEN = "LOOKONCE_", "__"
LAST_PORT: Final = 65535
Port = Annotated[int, Field(ge=0, le=LAST_PORT)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Count = Annotated[int, Field(ge=1)]
Words: TypeAlias = Annotated[tuple[str, ...], NoDecode]
ENDPOINT: Final = re.compile(r"(dns:///)?(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+):\d{1,5}", re.ASCII)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def endpoints(urls: tuple[str, ...]) -> tuple[str, ...]:
    """gRPC takes `http://host` for the name of a machine, and would look for it for ever."""
    for url in urls:
        if not ENDPOINT.fullmatch(url) or not 0 < int(url.rpartition(":")[2]) <= LAST_PORT:
            raise ValueError(f"{url} is no address of Triton's gRPC; write host:port or dns:///host:port")
    return urls


def words(value: object) -> object:
    """`a, b` in one variable is a list of two."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Server(Group):
    """The two public doors: REST, WebSocket and page on one port, gRPC on the other."""

    host: str = "127.0.0.1"
    http_port: Port = 8080
    grpc_port: Port = 8081
    origins: Words = Field((), description="Web pages (https://host) that a browser may call us from; * is any.")
    public_metrics: bool | None = Field(None, description="Serve /metrics on the public port too; on loopback it is.")

    split = field_validator("origins", mode="before")(words)


class Admin(Group):
    """The door for probes and metrics, which stays inside the cluster."""

    host: str = "127.0.0.1"
    port: Port = 8082


class TritonServer(Group):
    url: Words = Field(
        ("127.0.0.1:8001",), min_length=1, description="host:port, several with commas between, or dns:///host:port."
    )
    transport: Literal["grpc", "shared-memory"] = Field(
        "grpc", description="How pictures get there; shared-memory needs a Triton on this machine, else it is gRPC too."
    )

    split = field_validator("url", mode="before")(words)
    reach = field_validator("url")(endpoints)


class Models(Group):
    default: str | None = Field(None, description="The model of /v1/detect; where one model is served, it is that one.")
    names: Words = Field((), description="The models that must be ready; none named: at least one, whichever it is.")
    refresh_s: Seconds = Field(2.0, description="How often Triton is asked what it serves.")

    split = field_validator("names", mode="before")(words)


class Limits(Group):
    max_bytes: Count = Field(20 * 2**20, description="Of one image, as it is sent.")
    max_pixels: Count = Field(64_000_000, description="Of one image, told by its header.")
    max_images: int = Field(16, ge=1, le=1000, description="In one request, and never more than MAX_IN_FLIGHT.")
    max_body_bytes: Count = Field(
        512 * 2**20, description="Of the bodies of all requests together, until each is answered."
    )
    max_in_flight: Count = Field(64, description="Images looked at, or waiting for it, at once.")
    max_requests: Count = Field(512, description="Requests being read or answered at once.")
    max_streams: Count = Field(64, description="WebSocket and gRPC streams open at once.")
    threads: int = Field(
        0, ge=0, le=1024, description="Threads that decode; 0 is one for each CPU this process may use."
    )


class Decoding(Group):
    scaled: bool = Field(
        False, description="Decode a JPEG of twice the model's size or more to less: sooner, and boxes move a little."
    )


class Timeouts(Group):
    request_s: Seconds = Field(5.0, description="For a request that names no time of its own.")
    max_request_s: Seconds = Field(60.0, description="The longest that a request may ask for.")
    body_s: Seconds = Field(10.0, description="Until a body has been read.")
    idle_s: Seconds = Field(60.0, description="Until a stream without a frame is closed.")
    drain_s: float = Field(0.0, ge=0, le=3600, description="How long to go on serving after SIGTERM, not ready.")
    grace_s: Seconds = Field(15.0, description="How long what is in flight may take after that.")


class Keys(Group):
    file: Path | None = Field(None, description="The clients and the hashes of their keys; `lookonce key` writes it.")
    anonymous: bool = Field(False, description="Serve beyond loopback without keys.")


class Tls(Group):
    certificate: Path | None = None
    key: Path | None = None


class Urls(Group):
    """Images named by URL; off while no host is allowed."""

    hosts: Words = ()
    timeout_s: Seconds = 3.0

    split = field_validator("hosts", mode="before")(words)


class Logs(Group):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"
    access: bool = Field(True, description="A line for each request, gRPC call and stream.")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter=BETWEEN,
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )

    server: Server = Server()
    admin: Admin = Admin()
    triton: TritonServer = TritonServer()
    models: Models = Models()
    limits: Limits = Limits()
    decoding: Decoding = Decoding()
    timeouts: Timeouts = Timeouts()
    keys: Keys = Keys()
    tls: Tls = Tls()
    urls: Urls = Urls()
    logs: Logs = Logs()


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings(**groups: object) -> Settings:
    """The settings of a gateway, which agree with each other: what is given here wins over the environment."""
    settings = read_each(**groups)
    for contradiction in _contradictions(settings):
        raise SettingsRefused(contradiction)
    return settings


def read_each(**groups: object) -> Settings:
    """The same for whoever opens no door and serves nobody: each setting is right by itself."""
    _refuse_unknown_variables()
    try:
        return Settings(**groups)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsRefused("; ".join(_told(dict(problem)) for problem in error.errors()) + ".") from error


def _told(problem: dict[str, object]) -> str:
    place = problem["loc"]
    parts = [str(part) for part in place] if isinstance(place, tuple) else []
    return f"{variable(parts)}: {str(problem['msg']).removeprefix('Value error, ')}"


def variable(parts: list[str]) -> str:
    return PREFIX + BETWEEN.join(part.upper() for part in parts)


def variables() -> dict[str, tuple[str, str]]:
    """Every environment variable, with its group and its field."""
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        variable([group, field]): (group, field)
        for group, kind in groups.items()
        if isinstance(kind, type) and issubclass(kind, Group)
        for field in kind.model_fields
    }


def _refuse_unknown_variables() -> None:
    known = variables()
    groups = {variable([group]) for group, _ in known.values()}
    for name in os.environ:
        said = name.upper()
        is_ours = said.startswith(PREFIX) and (BETWEEN in said or said in groups)
        if is_ours and said not in known:
            raise SettingsRefused(f"the environment has {name}, which is no setting; {_hint(said, known)}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = [each for each in known if each.startswith(name + BETWEEN)] or get_close_matches(name, known, 1, cutoff=0.8)
    return f"did you mean {' or '.join(near)}?" if near else "`lookonce serve --print-config` shows those there are."


def _contradictions(settings: Settings) -> Iterator[str]:
    """Each as a sentence that says what to do."""
    server, limits, times = settings.server, settings.limits, settings.timeouts
    if (settings.tls.certificate is None) != (settings.tls.key is None):
        yield "TLS needs both LOOKONCE_TLS__CERTIFICATE and LOOKONCE_TLS__KEY; give the other one too."
    full_request_bytes = limits.max_images * limits.max_bytes
    if full_request_bytes > limits.max_body_bytes:
        yield (
            f"LOOKONCE_LIMITS__MAX_BODY_BYTES is {limits.max_body_bytes} and a full request, MAX_IMAGES times "
            f"MAX_BYTES, may have {full_request_bytes}; raise it, or lower one of those."
        )
    if times.request_s > times.max_request_s:
        yield (
            f"LOOKONCE_TIMEOUTS__REQUEST_S is {times.request_s:g} and may not be above "
            f"LOOKONCE_TIMEOUTS__MAX_REQUEST_S, {times.max_request_s:g}, or a request that names no time of its own "
            "would be refused; lower the one or raise the other."
        )
    elsewhere = [url for url in settings.triton.url if url.startswith("dns:")]
    if elsewhere and settings.triton.transport == "shared-memory":
        yield (
            f"LOOKONCE_TRITON__TRANSPORT=shared-memory needs a Triton on this machine, and {elsewhere[0]} may be "
            "several on others; name it as host:port, or leave the transport grpc."
        )
    ports = [port for port in (server.http_port, server.grpc_port, settings.admin.port) if port]
    if len(set(ports)) < len(ports):
        yield (
            "LOOKONCE_SERVER__HTTP_PORT, LOOKONCE_SERVER__GRPC_PORT and LOOKONCE_ADMIN__PORT are "
            f"{server.http_port}, {server.grpc_port} and {settings.admin.port}; give each a port of its own."
        )
    if settings.keys.file is None and not settings.keys.anonymous and not is_loopback(server.host):
        yield (
            f"serving on {server.host} without keys would answer anybody; name a key file in "
            "LOOKONCE_KEYS__FILE, or set LOOKONCE_KEYS__ANONYMOUS=true if that is what you want."
        )
