"""`lookonce model inspect`."""

from collections.abc import Iterable, Mapping

from rich.markup import escape
from rich.table import Table

from lookonce.cli import wishes
from lookonce.cli.console import out
from lookonce.forge.inspection import Inspection
from lookonce.forge.inspection import inspect as inspect_file
from lookonce.forge.layouts.table import Feeding, Layout
from lookonce.forge.recognise import Reading, outputs_text


def inspect(
    file: wishes.File,
    layout: wishes.LayoutName = None,
    labels: wishes.Labels = None,
    size: wishes.Size = None,
    anchors: wishes.AnchorsText = None,
    colour: wishes.Colour = None,
    mean: wishes.Mean = None,
    std: wishes.Std = None,
    fit: wishes.FitName = None,
) -> None:
    """What an ONNX file is, what it is taken for and why, or what it could be and the flag that decides."""
    asked = wishes.wishes_of(layout, size, labels, anchors, colour, mean, std, fit)
    found = inspect_file(file, asked)
    out.print(table(facts(found)))
    if found.reading is not None:
        return out.print(table(understood(found.reading)))
    out.print(f"[bold yellow]Not decided:[/] {escape(found.doubt)}", soft_wrap=True)
    return out.print(choices(found.choices))


def facts(found: Inspection) -> dict[str, str]:
    source, seen = found.source, found.probed.facts
    return {
        "file": str(source.path),
        "exporter": source.exporter,
        "opset": f"{source.opset} (IR {source.model.ir_version})",
        "inputs": "\n".join(map(str, source.inputs)),
        "outputs": "\n".join(map(str, source.outputs)),
        "one picture gives": f"{outputs_text(seen)} at {seen.width}x{seen.height}",
        "weights": f"{found.parameters / 1e6:.2f} M, {source.path.stat().st_size / 1e6:.1f} MB",
        "cost": f"{found.gflops:.2f} GFLOPs a picture",
        "sha256": source.sha256,
    }


def understood(reading: Reading) -> dict[str, str]:
    layout, probed = reading.layout, reading.probed
    labels = f"{len(reading.labels)}: {_listed(reading.labels)}"
    batch = "free" if probed.picture.batch is None else f"fixed at {probed.picture.batch}; import frees it"
    return {
        "layout": f"{layout.name}: {layout.meaning}",
        "because": reading.why,
        "labels": labels if reading.labels_found else f"{labels} (none in the file; name them with --labels)",
        "picture": feeding(reading.feeding),
        "suppression": "needed" if layout.needs_nms else "not needed",
        "batch": batch,
    }


def feeding(wanted: Feeding) -> str:
    fit = {"centred": "letterbox, centred, pad 114", "top-left": "letterbox, top left, pad 114", "stretch": "stretched"}
    scale = ",".join(f"{value:g}" for value in dict.fromkeys(wanted.std))
    shift = f" after −{','.join(f'{value:g}' for value in wanted.mean)}" if any(wanted.mean) else ""
    return f"{wanted.colour.upper()}, divided by {scale}{shift}, {fit[wanted.fit]}"


def choices(layouts: Iterable[Layout]) -> Table:
    grid = Table("flag", "what it says of the outputs", "picture", box=None, header_style="bold")
    for layout in layouts:
        grid.add_row(f"--layout {layout.name}", escape(layout.meaning), feeding(layout.feeding))
    return grid


def table(rows: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in rows.items():
        grid.add_row(key, escape(value))
    return grid


def _listed(labels: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(labels[:most]) + (", …" if len(labels) > most else "")
