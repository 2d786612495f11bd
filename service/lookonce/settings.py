"""Every knob of the gateway, frozen. Each is an environment variable: LOOKONCE_LIMITS__MAX_BYTES is `limits.max_bytes`.

No name is without the double underscore, for Kubernetes puts `LOOKONCE_PORT=tcp://…` beside a service called lookonce.
"""

import os
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lookonce.errors import SettingsRefused

PREFIX, BETWEEN = "LOOKONCE_", "__"
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Count = Annotated[int, Field(ge=1)]
Words: TypeAlias = Annotated[tuple[str, ...], NoDecode]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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

    split = field_validator("url", mode="before")(words)


class Models(Group):
    default: str | None = Field(None, description="The model of /v1/detect; where one model is served, it is that one.")
    names: Words = Field((), description="The models that must be ready; none named: at least one, whichever it is.")
    refresh_s: Seconds = Field(2.0, description="How often Triton is asked what it serves.")

    split = field_validator("names", mode="before")(words)


class Limits(Group):
    max_bytes: Count = Field(20 * 2**20, description="Of one image, as it is sent.")
    max_pixels: Count = Field(64_000_000, description="Of one image, told by its header.")
    max_images: Count = Field(16, description="In one request.")
    max_in_flight: Count = Field(64, description="Images looked at, or waiting for it, at once.")
    max_requests: Count = Field(512, description="Requests being read or answered at once.")
    max_streams: Count = Field(64, description="WebSocket and gRPC streams open at once.")
    threads: int = Field(
        0, ge=0, le=1024, description="Threads that decode; 0 is one for each CPU this process may use."
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
    access: bool = True


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter=BETWEEN,
        nested_model_default_partial_update=True,
    )

    server: Server = Server()
    admin: Admin = Admin()
    triton: TritonServer = TritonServer()
    models: Models = Models()
    limits: Limits = Limits()
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
    """The settings of this process: what is given here wins over the environment."""
    _refuse_unknown_variables()
    try:
        settings = Settings(**groups)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsRefused("; ".join(_told(dict(problem)) for problem in error.errors()) + ".") from error
    return _agreeing(settings)


def _told(problem: dict[str, object]) -> str:
    place = problem["loc"]
    parts = [str(part) for part in place] if isinstance(place, tuple) else []
    return f"{variable(parts)}: {problem['msg']}"


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
    for name in os.environ:
        if not name.startswith(PREFIX) or BETWEEN not in name or name in known:
            continue
        near = get_close_matches(name, known, 1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else "`lookonce serve --print-config` shows those there are."
        raise SettingsRefused(f"the environment has {name}, which is no setting; {hint}")


def _agreeing(settings: Settings) -> Settings:
    if (settings.tls.certificate is None) != (settings.tls.key is None):
        raise SettingsRefused("TLS needs both LOOKONCE_TLS__CERTIFICATE and LOOKONCE_TLS__KEY; give the other one too.")
    if settings.limits.max_images > settings.limits.max_in_flight:
        raise SettingsRefused(
            "LOOKONCE_LIMITS__MAX_IMAGES may not be above LOOKONCE_LIMITS__MAX_IN_FLIGHT, "
            "or a full request could never enter."
        )
    if settings.keys.file is None and not settings.keys.anonymous and not is_loopback(settings.server.host):
        raise SettingsRefused(
            f"serving on {settings.server.host} without keys would answer anybody; name a key file in "
            "LOOKONCE_KEYS__FILE, or set LOOKONCE_KEYS__ANONYMOUS=true if that is what you want."
        )
    return settings
