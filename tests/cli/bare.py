"""Runs where only what `pip install lookonce[EXTRAS]` brings can be imported: bare.py EXTRAS MODULE…"""

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from importlib.abc import MetaPathFinder
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def of_the_project(extras: str) -> Iterator[str]:
    """From the file itself, for what is installed may be older."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    yield from project["dependencies"]
    for extra in filter(None, extras.split(",")):
        yield from project["optional-dependencies"][extra]


def closure(requirements: Iterator[str]) -> set[str]:
    """The distributions that pip would install for these; what another platform wants is not here."""
    found, asked = set[str](), [Requirement(each) for each in requirements]
    seen = set[tuple[str, frozenset[str]]]()
    while asked:
        wanted = asked.pop()
        key = plain(wanted.name), frozenset(wanted.extras)
        if key in seen or not applies(wanted, ()):
            continue
        seen.add(key)
        found.add(key[0])
        needed = map(Requirement, metadata.requires(wanted.name) or ())
        asked += [Requirement(str(each).split(";")[0]) for each in needed if applies(each, wanted.extras)]
    return found


def applies(requirement: Requirement, extras: Sequence[str] | set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


class Absent(MetaPathFinder):
    def __init__(self, present: set[str]) -> None:
        tops = metadata.packages_distributions().items()
        self._absent = {top for top, owners in tops if present.isdisjoint(map(plain, owners))}

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] in self._absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main(extras: str, *modules: str) -> None:
    absent = Absent({"lookonce", *closure(of_the_project(extras))})
    for name in [name for name in sys.modules if name.partition(".")[0] in absent._absent]:
        del sys.modules[name]
    sys.meta_path.insert(0, absent)
    for module in modules:
        import_module(module)


if __name__ == "__main__":
    main(*sys.argv[1:])
