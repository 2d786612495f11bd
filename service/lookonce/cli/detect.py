"""`lookonce detect`: what is in these pictures, asked of a service or looked at right here."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.markup import escape
from rich.table import Table

from lookonce.cli import console
from lookonce.cli.extras import needing
from lookonce.client import Client, ClientError, Detections
from lookonce.errors import DetectionFailed, ServiceError

TIMEOUT_S: Final = 60.0
Look: TypeAlias = Callable[[Path, bytes], Detections]
Save: TypeAlias = Callable[[bytes, Detections], None]


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
    save: Annotated[Path | None, typer.Option(help="A folder for copies with their boxes drawn in.")] = None,
) -> None:
    """Say what is in each picture."""
    wishes = {"confidence": confidence, "iou": iou, "classes": classes}
    options = {name: value for name, value in wishes.items() if value is not None}
    saves = _saves(images, save) if save else [_not_saved] * len(images)
    failed = 0
    with _asking(url, key, model, options) if url else _looking(repository, model, options) as look:
        for path, keep in zip(images, saves, strict=True):
            try:
                picture = path.read_bytes()
                seen = look(path, picture)
            except (ClientError, ServiceError, OSError) as error:
                failed += 1
                _tell_failure(path, str(error), as_json=as_json)
                continue
            _show(path, seen, as_json=as_json)
            keep(picture, seen)
    if failed:
        raise DetectionFailed(f"{failed} of {len(images)} pictures could not be looked at; see above.")


@contextmanager
def _asking(url: str, key: str | None, model: str | None, options: Mapping[str, Any]) -> Iterator[Look]:
    try:
        client = Client(url, key=key, timeout_s=TIMEOUT_S)
    except ClientError as error:
        raise DetectionFailed(str(error)) from error
    with client:
        yield lambda _path, picture: client.detect(picture, model=model, **options)


def _looking(repository: Path, model: str | None, options: Mapping[str, object]) -> AbstractContextManager[Look]:
    with needing("gateway,embedded", "lookonce detect without --url"):
        from lookonce.cli.looking import looking  # noqa: PLC0415  who asks a service needs none of this
    return looking(repository, model, options, TIMEOUT_S)


def _saves(images: Sequence[Path], folder: Path) -> list[Save]:
    """What saves each picture; the places are settled before anything is looked at."""
    with needing("gateway", "lookonce detect --save"):
        from lookonce.cli import pictures  # noqa: PLC0415  nor does who wants words alone

    def to(place: Path) -> Save:
        def save(picture: bytes, seen: Detections) -> None:
            pictures.save_annotated(picture, seen, place)
            console.err.print(escape(str(place)), highlight=False, soft_wrap=True)

        return save

    return [to(place) for place in pictures.places_for(images, pictures.folder_for(folder))]


def _not_saved(_picture: bytes, _seen: Detections) -> None: ...


def _tell_failure(path: Path, why: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"file": str(path), "error": why}))
    else:
        console.err.print(f"[bold red]{escape(str(path))}[/]  {escape(why)}", highlight=False, soft_wrap=True)


def _show(path: Path, seen: Detections, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"file": str(path)} | dict(seen.json)))
        return
    title = f"{path}: {len(seen)} object{'s' * (len(seen) != 1)} in {seen.took_ms:.0f} ms"
    console.out.print(f"[bold]{escape(title)}[/]", highlight=False, soft_wrap=True)
    table = Table("label", "confidence", "x1 y1 x2 y2")
    for each in seen:
        corners = each.box.x1, each.box.y1, each.box.x2, each.box.y2
        table.add_row(escape(each.label), f"{each.confidence:.2f}", " ".join(f"{edge:.0f}" for edge in corners))
    if len(seen):
        console.out.print(table)
