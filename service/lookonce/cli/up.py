"""`lookonce up`: a real Triton on this machine and the gateway before it, until Ctrl-C."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from lookonce.cli import console
from lookonce.cli.serve import addresses_of, given, run
from lookonce.doors import listen
from lookonce.inference.embedded import Embedded
from lookonce.local.environment import FOLDER, Environment, missing_wheel, prepare, this_machine
from lookonce.local.ports import LOOPBACK, refuse_taken
from lookonce.local.ports import Ports as TritonPorts
from lookonce.local.triton import LOG, LocalTriton, Plan, models_in, serving
from lookonce.serving import Ports
from lookonce.settings import Settings, read_settings

PICTURE: Final = Path("docs/images/shapes.jpg")
EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing is bound here
_TRITON: Final = TritonPorts()


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up(
    repository: Annotated[Path, typer.Option(help="The folder of models to serve.")] = Path("model_repository/cpu"),
    http_port: Annotated[int | None, typer.Option(help="REST, WebSocket and page.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC.")] = None,
    admin_port: Annotated[int | None, typer.Option(help="Metrics and probes.")] = None,
    triton_http_port: Annotated[int, typer.Option(help="Triton's HTTP port.")] = _TRITON.http,
    triton_grpc_port: Annotated[int, typer.Option(help="Triton's gRPC port.")] = _TRITON.grpc,
    triton_metrics_port: Annotated[int, typer.Option(help="The port of Triton's own metrics.")] = _TRITON.metrics,
    environment: Annotated[Path, typer.Option(help="Where Triton's own virtual environment lies.")] = FOLDER,
    log: Annotated[Path, typer.Option(help="The file that takes what Triton says.")] = LOG,
    only_prepare: Annotated[bool, typer.Option("--prepare", help="Only prepare Triton's environment.")] = False,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Run the models in this process, without Triton.")
    ] = False,
) -> None:
    """Serve every model of the repository with a real Triton and the gateway before it, until Ctrl-C."""
    no_triton = "as was asked." if embedded else missing_wheel(this_machine())
    if only_prepare:
        _only_prepare(environment, no_triton)
        return
    models_in(repository)
    own = {"server": {"http_port": http_port, "grpc_port": grpc_port}, "admin": {"port": admin_port}}
    if no_triton is not None:
        _serve_without_triton(repository, no_triton, _settings(**own))
        return
    ports = TritonPorts(triton_http_port, triton_grpc_port, triton_metrics_port)
    refuse_taken(ports)
    transport = None if "LOOKONCE_TRITON__TRANSPORT" in os.environ else "shared-memory"
    settings = _settings(triton={"url": f"{LOOPBACK}:{ports.grpc}", "transport": transport}, **own)
    for address in addresses_of(settings):
        listen(address).close()
    with console.progress() as report:
        prepared = prepare(environment, report)
    _serve(prepared, Plan(repository=repository, ports=ports, log=log), settings)


def _only_prepare(environment: Path, no_triton: str | None) -> None:
    if no_triton is not None:
        _tell_without_triton(no_triton)
        return
    with console.progress() as report:
        prepare(environment, report)
    console.err.print(f"The local Triton is prepared in {escape(str(environment))}.", highlight=False)


def _settings(**groups: Mapping[str, object]) -> Settings:
    """Lines for people, unless the environment says otherwise."""
    form = None if "LOOKONCE_LOGS__FORMAT" in os.environ else "text"
    return read_settings(**given(logs={"format": form}, **groups))


def _serve(prepared: Environment, plan: Plan, settings: Settings) -> None:
    try:
        with ExitStack() as stack:
            with console.progress() as report:
                triton = stack.enter_context(serving(prepared, plan, report))
            run(settings, partial(_show, settings, triton), beside=(triton.watch,))
            console.err.print("Stopping Triton.")
    except KeyboardInterrupt:
        console.err.print("Stopped before Triton was ready.")


def _serve_without_triton(repository: Path, reason: str, settings: Settings) -> None:
    _tell_without_triton(reason)
    run(settings, partial(_show, settings, None), lambda: Embedded(repository))


def _tell_without_triton(reason: str) -> None:
    console.err.print(f"Without Triton, in this process: {escape(reason)}", highlight=False, soft_wrap=True)


def _show(settings: Settings, triton: LocalTriton | None, ports: Ports) -> None:
    facts = facts_of(settings, ports)
    if triton is not None:
        facts |= {"Triton": triton.endpoint.grpc_url, "Triton's log": str(triton.log)}
    facts |= {"try it": curl_for(settings, facts["REST"])}
    for name, fact in facts.items():
        console.out.print(f"[bold green]{name:>13}[/]  {escape(fact)}", highlight=False, soft_wrap=True)
    console.out.print("               Ctrl-C stops it.", style="dim")


def facts_of(settings: Settings, ports: Ports) -> dict[str, str]:
    """Every address, as it is called from this machine."""
    host, s = _called(settings.server.host), "s" if settings.tls.certificate else ""
    url = f"http{s}://{host}:{ports.http}"
    return {
        "REST": f"{url}/v1/detect",
        "page": f"{url}/",
        "documents": f"{url}/docs",
        "WebSocket": f"ws{s}://{host}:{ports.http}/v1/stream",
        "gRPC": f"{host}:{ports.grpc}",
        "metrics": f"http://{_called(settings.admin.host)}:{ports.admin}/metrics",
    }


def _called(host: str) -> str:
    """Everywhere is here too; IPv6 stands in brackets before a port."""
    here = EVERYWHERE.get(host, host)
    return f"[{here}]" if ":" in here else here


def curl_for(settings: Settings, url: str) -> str:
    """`-k`, for a certificate names a host that others call, and seldom this address."""
    picture = PICTURE if PICTURE.is_file() else "picture.jpg"
    trusting = "-k " if settings.tls.certificate else ""
    key = "-H 'X-API-Key: KEY' " if settings.keys.file else ""
    return f"curl {trusting}{key}-H 'Content-Type: image/jpeg' --data-binary @{picture} {url}"
