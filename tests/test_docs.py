"""What the documents say is what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lookonce.cli.console import EXIT_CODES
from lookonce.cli.main import app
from lookonce.errors import LookOnceError
from lookonce.forge.layouts.table import LAYOUTS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MODELS = (ROOT / "docs" / "models.md").read_text()


def commands() -> set[str]:
    """Every command as it is written: `up`, `model import`…"""
    found = set[str]()

    def walk(group: Any, words: tuple[str, ...]) -> None:  # noqa: ANN401  typer hides click's own types
        for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
            found.add(" ".join((*words, name)))
            walk(group.get_command(None, name), (*words, name))

    walk(get_command(app), ())
    return found


def errors(kind: type[LookOnceError] = LookOnceError) -> list[type[LookOnceError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in errors(child))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    shown = set(re.findall(r"(?:`|\$ |bin/)lookonce ((?:model |key )?[a-z][a-z-]+)", page.read_text()))
    assert shown <= commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_a_page_shows_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text())
    assert set(shown) <= targets


def test_the_table_of_layouts_is_the_code_s() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| .+ \| (needed|not needed) \|$", MODELS, re.MULTILINE)
    coded = [(one.name, one.meaning, "needed" if one.needs_nms else "not needed") for one in LAYOUTS.values()]
    assert rows == coded


def test_the_exit_codes_are_the_code_s() -> None:
    table = MODELS.split("## Exit codes")[1]
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    assert documented == {0, 2, *EXIT_CODES.values()}


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in errors()]
    assert sorted(codes) == sorted(set(codes))
