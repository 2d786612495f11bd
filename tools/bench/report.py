"""What a person gets of a run: tables in the terminal, numbers in a file, pictures, and the tables as Markdown."""

from collections.abc import Mapping
from pathlib import Path

import pictures
import results
from figures import Findings
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from tables import MET, MISSED, Sheet, sheets

COLOURS = {MET: "[green]met[/]", MISSED: "[bold red]missed[/]"}


def write(findings: Findings, folder: Path, console: Console) -> None:
    """`results.json` and the pictures into the folder, the tables onto the console."""
    kept = results.kept(findings)
    folder.mkdir(parents=True, exist_ok=True)
    results.save(kept, folder)
    pictures.draw(kept, folder)
    for sheet in reversed(sheets(kept)):
        console.print(_table(sheet))
    console.print(_machine(kept.machine), style="dim", highlight=False)


def markdown(folder: Path) -> str:
    """The tables of the run that was written into the folder."""
    kept = results.load(folder)
    return "\n\n".join((_machine(kept.machine), *map(_as_markdown, sheets(kept)))) + "\n"


def _table(sheet: Sheet) -> Table:
    """Where it is narrow, the words of one column give way; no number is cut."""
    table = Table(title=sheet.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for place, column in enumerate(sheet.columns):
        justify: JustifyMethod = "left" if place < sheet.words else "right"
        table.add_column(column, justify=justify, no_wrap=column != sheet.yields)
    for row in sheet.rows:
        table.add_row(*(COLOURS.get(cell, cell) for cell in row))
    return table


def _as_markdown(sheet: Sheet) -> str:
    sides = ["---"] * sheet.words + ["---:"] * (len(sheet.columns) - sheet.words)
    return "\n".join(
        (f"### {sheet.title}", "", *(f"| {' | '.join(row)} |" for row in (sheet.columns, sides, *sheet.rows)))
    )


def _machine(machine: Mapping[str, object]) -> str:
    return " · ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
