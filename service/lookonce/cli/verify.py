"""`lookonce model verify`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lookonce.card import Verdict
from lookonce.cli import shelf
from lookonce.cli.console import err, out, progress
from lookonce.errors import ModelRefused
from lookonce.forge.agreement import CONFIDENCE, LEAST_IOU, MOST_SCORE_CHANGE, REQUIRED_SHARE, Comparison, gate
from lookonce.forge.parity import MOST_BOX_PX, MOST_SCORE, doubt_of
from lookonce.forge.plots import VERDICT_COLOURS, draw_comparison, verdict_text
from lookonce.forge.repository import published, version_folder
from lookonce.forge.verification import Verified, verify_version


def verify(
    name: shelf.Name,
    version: shelf.Version = None,
    images: Annotated[Path | None, typer.Option(help="A folder of pictures; without it drawn ones are used.")] = None,
    repository: shelf.Repository = shelf.HERE,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the comparison as a PNG, here.", metavar="FILE.png")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures, for programs.")] = False,
) -> None:
    """Compare a published version with the file it came from, and its precision with FP32."""
    card = published(repository, name).card(version)
    if picture is not None:
        check_is_drawable(picture)
    with progress() as report:
        done = verify_version(version_folder(repository, card), card, images, report)
    if as_json:
        typer.echo(json.dumps(figures(done), indent=2))
    else:
        show(done)
    if picture is not None:
        draw(done, picture)
    if done.comparison is not None:
        gate(done.comparison, accept=card.agreement is not None and card.agreement.accepted)


def figures(done: Verified) -> dict[str, object]:
    comparison = done.comparison
    found: dict[str, object] = {"model": done.card.name, "version": done.card.version, "parity": asdict(done.parity)}
    if comparison is not None:
        counts = {word: getattr(comparison, word) for word in ("matched", "missing", "extra", "on_the_edge")}
        found["agreement"] = asdict(comparison.agreement) | counts
    return found


def show(done: Verified) -> None:
    out.print(Text(f"{done.card.name} version {done.card.version}", "bold"))
    out.print(parity_table(done), highlight=False)
    if done.comparison is None:
        out.print("The version is served in FP32: there is no lower precision to compare.")
    else:
        colour = VERDICT_COLOURS[done.comparison.agreement.verdict]
        out.print(agreement_table(done.comparison), highlight=False)
        out.print(Text(f"{verdict_text(done.comparison)}.", f"bold {colour}"))
        if done.comparison.agreement.emulated:
            err.print("[yellow]Note:[/] half precision ran emulated on a CPU; verify again where it is served.")
    for remark in filter(None, (doubt_of(done.parity), *done.pictures.remarks)):
        err.print(f"[yellow]Note:[/] {remark}", soft_wrap=True)


def parity_table(done: Verified) -> Table:
    parity = done.parity
    table = _table("FP32 graph against its source", "worst", "allowed")
    table.add_row("box", f"{parity.worst_box_px:.2g} px", f"{MOST_BOX_PX} px")
    table.add_row("score", f"{parity.worst_score:.2g}", f"{MOST_SCORE:g}")
    table.add_row("rows", str(parity.rows), "that score above 0")
    table.add_row("pictures", str(parity.pictures), "")
    return table


def agreement_table(comparison: Comparison) -> Table:
    agreement, needed = comparison.agreement, REQUIRED_SHARE[comparison.precision]
    share = "not known" if agreement.verdict is Verdict.INSUFFICIENT else f"{agreement.share:.2%}"
    rule = f"same class, IoU ≥ {LEAST_IOU}, score within {MOST_SCORE_CHANGE}"
    table = _table(f"{comparison.precision.upper()} against FP32", "found", "")
    table.add_row("agreement", share, f"needed {needed:.0%}")
    table.add_row("agree", str(comparison.matched), rule)
    table.add_row("missing", str(comparison.missing), f"of {agreement.detections} that FP32 finds")
    table.add_row("extra", str(comparison.extra), "that FP32 does not find, or not so")
    table.add_row("at the limit", str(comparison.on_the_edge), f"of these, scored {CONFIDENCE} ± {MOST_SCORE_CHANGE}")
    table.add_row("mean shift", f"{agreement.mean_shift_px:.3f} px", "of the farthest edge of each box that agrees")
    table.add_row("worst shift", f"{agreement.worst_shift_px:.3f} px", "in pixels of the network's input")
    table.add_row("pictures", str(agreement.pictures), "")
    return table


def check_is_drawable(picture: Path) -> None:
    """Said before the work, which takes minutes."""
    if picture.suffix.lower() != ".png":
        raise ModelRefused(f"--picture {picture} is no name for a PNG; let it end in .png.")
    if not picture.parent.is_dir() or picture.is_dir():
        raise ModelRefused(f"--picture {picture} cannot be written: {picture.parent} is no folder; make it first.")


def draw(done: Verified, picture: Path) -> None:
    if done.comparison is None:
        err.print("[yellow]Note:[/] nothing to draw: the version is served in FP32.")
        return
    try:
        draw_comparison(done.comparison, done.pictures, f"{done.card.name} version {done.card.version}", picture)
    except OSError as error:
        raise ModelRefused(f"--picture {picture} cannot be written ({error.strerror}); name another place.") from error
    err.print(f"Drawn to {picture}", highlight=False, soft_wrap=True)


def _table(title: str, *headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=False)
    table.add_column(title, no_wrap=True)
    table.add_column(headings[0], justify="right")
    table.add_column(headings[1], style="dim")
    return table
