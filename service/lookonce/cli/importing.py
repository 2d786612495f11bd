"""`lookonce model import`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lookonce.card import Precision, Target
from lookonce.cli import wishes
from lookonce.cli.console import err, out, progress
from lookonce.cli.inspecting import feeding, table
from lookonce.forge.importing import Imported, Order, import_model
from lookonce.forge.parity import doubt_of


def import_(
    file: wishes.File,
    name: Annotated[str, typer.Option(help="The model's name in the repository.")],
    version: Annotated[int | None, typer.Option(help="The version; the next free one where none is said.")] = None,
    layout: wishes.LayoutName = None,
    labels: wishes.Labels = None,
    size: wishes.Size = None,
    anchors: wishes.AnchorsText = None,
    colour: wishes.Colour = None,
    mean: wishes.Mean = None,
    std: wishes.Std = None,
    fit: wishes.FitName = None,
    precision: Annotated[Precision, typer.Option(help="What the served graph computes in.")] = Precision.FP32,
    target: Annotated[Target, typer.Option(help="Who runs it in Triton.")] = Target.PYTHON,
    max_batch: Annotated[int, typer.Option(help="The largest batch Triton may form.")] = 8,
    candidates: Annotated[int, typer.Option(help="Rows a picture keeps before suppression.")] = 1000,
    calibration: Annotated[Path | None, typer.Option(help="For int8: a folder of 100 pictures or more.")] = None,
    images: Annotated[Path | None, typer.Option(help="Verify on this folder's pictures, not on drawn ones.")] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Publish though precisions disagree; the card says so.")
    ] = False,
    repository: Annotated[Path | None, typer.Option(help="Where it is published.", show_default="by target")] = None,
) -> None:
    """Make any YOLO export a version that Triton serves: FILE in, NAME in the repository, verified on the way."""
    order = Order(
        file=file,
        name=name,
        repository=repository or default_repository(target),
        version=version,
        wishes=wishes.wishes_of(layout, size, labels, anchors, colour, mean, std, fit),
        precision=precision,
        target=target,
        max_batch=max_batch,
        candidates=candidates,
        calibration=calibration,
        images=images,
        accept=accept,
    )
    with progress() as report:
        done = import_model(order, report)
    out.print(table(told(done, order)))
    for remark in remarks(done):
        err.print(f"[yellow]Note:[/] {escape(remark)}", soft_wrap=True)


def default_repository(target: Target) -> Path:
    return Path("model_repository") / ("gpu" if target is Target.TENSORRT else "cpu")


def told(done: Imported, order: Order) -> dict[str, str]:
    card = done.card
    rows = {
        "published": f"{card.name} version {card.version} in {order.repository}",
        "layout": f"{card.layout}, because {done.reading.why}",
        "picture": f"{card.geometry.width}x{card.geometry.height}, {feeding(done.reading.feeding)}",
        "labels": f"{len(card.labels)}",
        "face": f"UINT8 [N,{card.geometry.height},{card.geometry.width},3] → FP32 [N,{card.candidates},6], "
        f"N ≤ {card.max_batch}",
        "precision": f"{card.precision} on {card.target}",
    }
    if card.parity is not None:
        worst = f"worst {card.parity.worst_box_px:.2g} px, {card.parity.worst_score:.2g} of score"
        rows["equals source"] = f"{worst}, {card.parity.rows} rows of {card.parity.pictures} pictures"
    if card.agreement is not None:
        agreement = card.agreement
        rows["agrees with fp32"] = f"{agreement.share:.2%} of {agreement.detections} detections: {agreement.verdict}"
    return rows


def remarks(done: Imported) -> list[str]:
    card, said = done.card, [*filter(None, [done.reading.doubt]), *done.pictures.remarks]
    said += filter(None, [doubt_of(card.parity)])
    if not done.reading.labels_found:
        said.append("the file names no classes; they are called class_0, class_1 and so on. Give names with --labels.")
    if card.agreement is not None and card.agreement.verdict == "insufficient":
        said.append("too few detections to judge the precision; verify on pictures of your own with --images.")
    if card.agreement is not None and card.agreement.emulated:
        said.append("half precision ran emulated on a CPU; verify again where it is served.")
    if card.target is Target.TENSORRT:
        said.append(f"build its engine where the GPU is: lookonce model engine {card.name}")
    return said
