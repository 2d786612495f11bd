"""`lookonce detect`: what is in these pictures, asked of a service or looked at right here."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.markup import escape
from rich.table import Table

from lookonce.app import detector_of
from lookonce.cli import console
from lookonce.cli.pictures import save_annotated
from lookonce.client import Client, ClientError, Detections
from lookonce.client.results import detections_from
from lookonce.errors import DetectionFailed, ServiceError
from lookonce.inference.embedded import Embedded
from lookonce.local.triton import models_in
from lookonce.logs import logger
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.request import Request
from lookonce.settings import read_settings
from lookonce.transports.options import options_from
from lookonce.transports.presets import native

TIMEOUT_S = 60.0
Seen: TypeAlias = tuple[Path, Detections | str]
"""A picture and what is in it, or why nobody can say."""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def detect(
    images: Annotated[list[Path], typer.Argument(help="Pictures.", exists=False)],
    url: Annotated[str | None, typer.Option(help="Ask the service there; without it, look in this process.")] = None,
    key: Annotated[str | None, typer.Option(envvar="LOOKONCE_KEY", help="The key of that service.")] = None,
    repository: Annotated[Path, typer.Option(help="The models to look with, without a service.")] = Path(
        "model_repository/cpu"
    ),
    model: Annotated[str | None, typer.Option(help="Which model; not needed where there is one.")] = None,
    confidence: Annotated[float | None, typer.Option(help="Leave out what scores less.")] = None,
    iou: Annotated[float | None, typer.Option(help="Boxes that overlap by more are one.")] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="Only this class; may come again.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON a picture, as the service answers.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="A folder for the pictures with their boxes drawn in.")] = None,
) -> None:
    """Say what is in each picture."""
    wishes = {"confidence": confidence, "iou": iou, "classes": classes}
    options = {name: value for name, value in wishes.items() if value is not None}
    look = partial(_asked, url, key) if url else partial(_looked, repository)
    failed = 0
    for path, seen in look(images, model, options):
        failed += isinstance(seen, str)
        _show(path, seen, as_json=as_json)
        if save and not isinstance(seen, str):
            console.err.print(escape(str(save_annotated(path, seen, save))), highlight=False, soft_wrap=True)
    if failed:
        raise DetectionFailed(f"{failed} of {len(images)} pictures could not be looked at; see above.")


def _asked(
    url: str, key: str | None, images: list[Path], model: str | None, options: Mapping[str, Any]
) -> Iterator[Seen]:
    with closing(Client(url, key=key, timeout_s=TIMEOUT_S)) as client:
        for path in images:
            try:
                yield path, client.detect(path, model=model, **options)
            except (ClientError, OSError) as error:
                yield path, str(error)


def _looked(repository: Path, images: list[Path], model: str | None, options: Mapping[str, object]) -> Iterator[Seen]:
    models_in(repository)
    settings = read_settings()
    with asyncio.Runner() as runner:
        detector = detector_of(settings, Embedded(repository), logger("error", "text"))
        runner.run(detector.catalogue.refresh())
        try:
            for path in images:
                yield path, _look(runner, detector, path, (model, options))
        finally:
            runner.run(detector.close())


def _look(
    runner: asyncio.Runner, detector: Detector, path: Path, wishes: tuple[str | None, Mapping[str, object]]
) -> Detections | str:
    model, options = wishes
    try:
        until = runner.get_loop().time() + TIMEOUT_S
        request = Request(pictures=[path.read_bytes()], until=until, model=model, options=options_from(options))
        return detections_from(native(runner.run(detector.detect(request)), path.name))
    except (ServiceError, OSError) as error:
        return str(error)


def _show(path: Path, seen: Detections | str, *, as_json: bool) -> None:
    if as_json:
        fact = {"error": seen} if isinstance(seen, str) else dict(seen.json)
        typer.echo(json.dumps({"file": str(path)} | fact))
        return
    if isinstance(seen, str):
        console.err.print(f"[bold red]{escape(str(path))}[/]  {escape(seen)}", highlight=False, soft_wrap=True)
        return
    title = f"{path}: {len(seen)} object{'s' * (len(seen) != 1)} in {seen.json['timings_ms']['total']:.0f} ms"
    console.out.print(f"[bold]{escape(title)}[/]", highlight=False, soft_wrap=True)
    table = Table("label", "confidence", "x1 y1 x2 y2")
    for each in seen:
        corners = each.box.x1, each.box.y1, each.box.x2, each.box.y2
        table.add_row(escape(each.label), f"{each.confidence:.2f}", " ".join(f"{edge:.0f}" for edge in corners))
    if len(seen):
        console.out.print(table)
