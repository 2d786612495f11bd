"""The command `lookonce`. A subcommand is loaded when it is called, so that each needs its own libraries alone."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_command

from lookonce.cli import shell
from lookonce.cli.extras import needing
from lookonce.errors import ExtraMissing

EXTRAS: Final[Mapping[str, str]] = {
    "up": "gateway,embedded",
    "serve": "gateway",
    "detect": "",
    "doctor": "gateway",
    "key": "",
    "model": "forge",
}
"""Every subcommand, a module beside this one, and what of `pip install lookonce[…]` it needs to begin with."""

WHATEVER: Final = {"ignore_unknown_options": True, "allow_extra_args": True}


class Subcommands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  typer hides click's own types
        return list(EXTRAS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        if cmd_name not in EXTRAS:
            return None
        command = get_command(_loaded(cmd_name))
        command.name = cmd_name
        return command


def _loaded(name: str) -> typer.Typer:
    try:
        with needing(EXTRAS[name], f"lookonce {name}"):
            app = import_module(f"lookonce.cli.{name}").app
    except ExtraMissing as error:
        return _without(name, error)
    assert isinstance(app, typer.Typer)  # noqa: S101  each of these modules has one
    return app


def _without(name: str, missing: ExtraMissing) -> typer.Typer:
    app = typer.Typer(add_completion=False)

    @app.command(name, context_settings=dict(WHATEVER), help=escape(f"Needs lookonce[{EXTRAS[name]}]."))
    def refuse() -> None:
        raise missing

    return app


app = typer.Typer(cls=Subcommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lookonce {version('lookonce')}")
        raise typer.Exit


@app.callback()
def lookonce(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Which one.")
    ] = False,
) -> None:
    """YOLO object detection, served by Triton on one wire contract."""


def main() -> None:
    shell.run(app)
