"""The command `lookonce`."""

import typer

from lookonce.cli import shell
from lookonce.cli.model import app as model_app
from lookonce.cli.up import up

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(model_app, name="model")
app.command()(up)


@app.callback()
def lookonce() -> None:
    """YOLO object detection, served by Triton on one wire contract."""


def main() -> None:
    shell.run(app)
