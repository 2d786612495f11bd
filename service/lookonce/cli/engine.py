"""TensorRT plans: building them where the GPU is, and taking in those that were built elsewhere."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lookonce.cli import console
from lookonce.cli.shelf import Name
from lookonce.cli.wishes import Labels, labels_from_file
from lookonce.forge import engine as forge
from lookonce.forge import ultralytics_plan as plans
from lookonce.forge.engine_cache import default_cache

GPU_REPOSITORY = Path("model_repository/gpu")


class Tensors(StrEnum):
    FP16 = "fp16"
    FP32 = "fp32"


KINDS: dict[Tensors, plans.Kind] = {Tensors.FP16: "FP16", Tensors.FP32: "FP32"}


def engine(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; without it the newest.")] = None,
    repository: Annotated[Path, typer.Option(help="The model repository's folder.")] = GPU_REPOSITORY,
    trtexec: Annotated[str, typer.Option(help="TensorRT's command line builder.")] = "trtexec",
    device: Annotated[str, typer.Option(help="Index or UUID of the GPU, as nvidia-smi counts.")] = "",
    opt_batch: Annotated[
        int | None, typer.Option(min=1, help="The batch the plan is best at; without it the largest power of two.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where built plans are kept, ready to be used again.")] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="TensorRT's timings, kept for faster builds.")] = None,
    workspace: Annotated[int | None, typer.Option(min=1, metavar="MIB", help="Limit of TensorRT's workspace.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder of pictures to try the plan on.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and build nothing.")] = False,
    tensorrt_version: Annotated[
        str | None, typer.Option(help="With --dry-run: the version to write the command for, asking nothing.")
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Publish a plan that disagrees with its graph.")] = False,
) -> None:
    """Build a version's TensorRT plan, try it against its graph, and publish it."""
    order = forge.Order(
        repository=repository,
        name=name,
        version=version,
        trtexec=trtexec,
        device=device,
        best_batch=opt_batch,
        cache=(cache or default_cache()).absolute(),
        timing_cache=timing_cache,
        workspace_mib=workspace,
        images=images,
        accept=accept,
    )
    if dry_run:
        return recite(forge.rehearse(order, tensorrt_version))
    with console.progress() as report:
        made = forge.make_engine(order, report)
    return tell(made)


def recite(rehearsal: forge.Rehearsal) -> None:
    typer.echo(shlex.join(rehearsal.command))
    if not rehearsal.was_asked:
        typer.echo(f"Written for TensorRT {rehearsal.tensorrt_version}; `--tensorrt-version` names another.", err=True)


def import_engine(
    file: Annotated[Path, typer.Argument(help="The .engine file that Ultralytics wrote.", show_default=False)],
    name: Annotated[str, typer.Option(help="The model's name.")],
    version: Annotated[int | None, typer.Option(min=1, help="Which version; without it the next free one.")] = None,
    labels: Labels = None,
    layout: Annotated[str | None, typer.Option(help="yolov8 or end2end, where the file's header is wrong.")] = None,
    tensors: Annotated[Tensors | None, typer.Option(help="Type of its tensors, where the header is silent.")] = None,
    repository: Annotated[Path, typer.Option(help="The model repository's folder.")] = GPU_REPOSITORY,
) -> None:
    """Take the header off an Ultralytics .engine and publish the plan as it is, with a card that tells its layout."""
    wanted = plans.Wanted(
        repository=repository,
        name=name,
        version=version,
        labels=labels_from_file(labels) if labels else None,
        layout=layout,
        kind=KINDS[tensors] if tensors else None,
    )
    card = plans.import_plan(file, wanted)
    height, width = card.input_tensor.shape[2:]
    typer.echo(
        f"{card.name} version {card.version}: {len(card.labels)} labels, {width}x{height}, batches of up to "
        f"{card.max_batch}, {card.precision}, layout {card.layout}, served with its own tensors:"
    )
    for tensor in (card.input_tensor, *card.output_tensors):
        typer.echo(f"  {tensor.name} {tensor.type} {list(tensor.shape)}")
    typer.echo(
        "A plan runs only on the TensorRT version and the kind of GPU it was built with, and was not checked against "
        "its graph. Importing the ONNX instead gives both checks and the smaller wire."
    )


def tell(made: forge.Made) -> None:
    engine, agreement = made.engine, made.engine.agreement
    how = "taken from the cache" if made.was_cached else "built"
    typer.echo(
        f"{made.card.name} version {made.card.version}: {how} with TensorRT {engine.tensorrt_version} for {engine.gpu} "
        f"(compute capability {engine.compute_capability}), best at batch {engine.best_batch} of {made.card.max_batch}."
    )
    accepted = " It is published because it was accepted so." if agreement.accepted else ""
    typer.echo(
        f"{agreement.share:.1%} of {agreement.detections} detections on {agreement.pictures} pictures agree with the "
        f"graph ({agreement.verdict}).{accepted}"
    )
    typer.echo(f"plan: {made.plan} ({made.plan.stat().st_size / 2**20:.1f} MiB)")
