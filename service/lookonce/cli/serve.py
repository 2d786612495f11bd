"""`lookonce serve`: the gateway, against any Triton."""

import asyncio
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from lookonce.app import Keeper, build
from lookonce.cli import console
from lookonce.doors import Address
from lookonce.inference.port import Inference
from lookonce.serving import Ports, serve
from lookonce.settings import Settings, read_settings, variables

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve_command(
    host: Annotated[str | None, typer.Option(help="The address of both public ports.")] = None,
    http_port: Annotated[int | None, typer.Option(help="REST, WebSocket and page.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC.")] = None,
    admin_port: Annotated[int | None, typer.Option(help="Metrics and probes.")] = None,
    triton: Annotated[
        str | None, typer.Option(help="host:port, several with commas between, or dns:///host:port.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model of /v1/detect.")] = None,
    keys: Annotated[Path | None, typer.Option(help="The file of clients and keys.")] = None,
    anonymous: Annotated[bool | None, typer.Option("--anonymous", help="Serve beyond loopback without keys.")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print every setting and leave.")] = False,
) -> None:
    """Serve detections from a Triton, over REST, WebSocket and gRPC. Every setting is also an environment variable."""
    settings = read_settings(
        **given(
            server={"host": host, "http_port": http_port, "grpc_port": grpc_port},
            admin={"port": admin_port},
            triton={"url": triton},
            models={"default": model},
            keys={"file": keys, "anonymous": anonymous},
        )
    )
    if print_config:
        typer.echo(config_to_text(settings))
        return
    run(settings, lambda ports: console.err.print(f"Serving on port {ports.http}.", highlight=False))


def given(**groups: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The groups with what was given in them; the rest is left to the environment and the defaults."""
    kept = {
        group: {name: value for name, value in fields.items() if value is not None} for group, fields in groups.items()
    }
    return {group: fields for group, fields in kept.items() if fields}


def run(
    settings: Settings,
    tell: Callable[[Ports], None],
    inference: Callable[[], Inference] | None = None,
    beside: tuple[Keeper, ...] = (),
) -> None:
    """Serve on a loop of its own until told to stop; what runs `beside` ends it by failing."""

    async def serving() -> None:
        gateway = build(settings, inference() if inference else None)
        await serve(replace(gateway, keepers=(*gateway.keepers, *beside)), tell)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving())


def addresses_of(settings: Settings) -> tuple[Address, ...]:
    """Where the gateway will listen."""
    server, admin = settings.server, settings.admin
    return (
        Address(server.host, server.http_port, "LOOKONCE_SERVER__HTTP_PORT"),
        Address(server.host, server.grpc_port, "LOOKONCE_SERVER__GRPC_PORT"),
        Address(admin.host, admin.port, "LOOKONCE_ADMIN__PORT"),
    )


def config_to_text(settings: Settings) -> str:
    """One variable a line, each after what it means, as a shell reads it; what is not set is a comment."""
    return "\n".join(_lines(settings))


def _lines(settings: Settings) -> list[str]:
    lines = []
    for name, (group, field) in variables().items():
        described = getattr(settings, group)
        meaning = type(described).model_fields[field].description
        lines += [f"# {meaning}"] if meaning else []
        text = _text(getattr(described, field))
        lines.append(f"{name}={shlex.quote(text)}" if text else f"#{name}=")
    return lines


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
