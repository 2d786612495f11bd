"""`lookonce up`: a real Triton on this machine, until Ctrl-C."""

import asyncio
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lookonce.cli import console, once
from lookonce.inference.embedded import Embedded
from lookonce.local.environment import FOLDER, Environment, missing_wheel, prepare, this_machine
from lookonce.local.ports import Ports
from lookonce.local.triton import LOG, LocalTriton, Plan, models_in, serving

_PORTS = Ports()


def up(
    repository: Annotated[Path, typer.Option(help="The folder of models to serve.")] = Path("model_repository/cpu"),
    http_port: Annotated[int, typer.Option(help="Triton's HTTP port.")] = _PORTS.http,
    grpc_port: Annotated[int, typer.Option(help="Triton's gRPC port.")] = _PORTS.grpc,
    metrics_port: Annotated[int, typer.Option(help="The port of Triton's own metrics.")] = _PORTS.metrics,
    environment: Annotated[Path, typer.Option(help="Where Triton's own virtual environment lies.")] = FOLDER,
    log: Annotated[Path, typer.Option(help="The file that takes what Triton says.")] = LOG,
    only_prepare: Annotated[bool, typer.Option("--prepare", help="Only prepare Triton's environment.")] = False,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Run the models in this process, without Triton.")
    ] = False,
) -> None:
    """Serve every model of the repository with a real Triton on loopback, until Ctrl-C."""
    no_triton = "as was asked." if embedded else missing_wheel(this_machine())
    if no_triton is not None:
        _look_without_triton(repository, no_triton, only_prepare)
        return
    with console.progress() as report:
        prepared = prepare(environment, report)
    if only_prepare:
        console.err.print(f"The local Triton is prepared in {escape(str(environment))}.", highlight=False)
        return
    _serve(prepared, Plan(repository=repository, ports=Ports(http_port, grpc_port, metrics_port), log=log))


def _serve(prepared: Environment, plan: Plan) -> None:
    try:
        with ExitStack() as stack:
            with console.progress() as report:
                triton = stack.enter_context(serving(prepared, plan, report))
            _show(triton)
            _until_ctrl_c(triton)
    except KeyboardInterrupt:
        console.err.print("Stopped before Triton was ready.")


def _until_ctrl_c(triton: LocalTriton) -> None:
    try:
        triton.wait()
    except KeyboardInterrupt:
        console.err.print("\nStopping Triton.")


def _show(triton: LocalTriton) -> None:
    endpoint = triton.endpoint
    python = os.path.relpath(sys.executable)
    facts = {
        "Triton serves": ", ".join(triton.models),
        "gRPC": endpoint.grpc_url,
        "HTTP": endpoint.http_url,
        "metrics": f"{endpoint.http_url.rpartition(':')[0]}:{endpoint.ports.metrics}/metrics",
        "log": str(triton.log),
        "try it": f"{python} -m lookonce.cli.once {endpoint.grpc_url} {triton.models[0]}",
    }
    for name, fact in facts.items():
        console.out.print(f"[bold green]{name:>13}[/]  {escape(fact)}", highlight=False, soft_wrap=True)
    console.out.print("               Ctrl-C stops it.", style="dim")


def _look_without_triton(repository: Path, reason: str, only_prepare: bool) -> None:
    """There is no wire without Triton yet, so each model looks at one picture and that is all."""
    console.err.print(f"Without Triton, in this process: {escape(reason)}", highlight=False, soft_wrap=True)
    if only_prepare:
        return
    for seen in asyncio.run(_looks(repository)):
        once.show(seen)
    console.err.print("Each model looked at one drawn picture. Nothing is served: the wire comes with Triton.")


async def _looks(repository: Path) -> list[once.Look]:
    inference = Embedded(repository)
    try:
        return [await once.look(inference, name, seed=1) for name in models_in(repository)]
    finally:
        await inference.close()
