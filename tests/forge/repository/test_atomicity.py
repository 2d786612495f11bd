"""Whatever happens while a version is published, the repository holds the old state or the new one, whole."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from subprocess import PIPE
from typing import TypeAlias

import pytest

from lookonce.card import Card, card_to_json
from lookonce.forge.repository import names, published
from lookonce.forge.staging import home_of

MakeCard: TypeAlias = Callable[..., Card]
Put: TypeAlias = Callable[..., Card]
DONE, REFUSED, INTERRUPTED, KILLED = 0, 3, 4, -signal.SIGKILL
STOPPED = {"kill": KILLED, "interrupt": INTERRUPTED, "full": REFUSED}
Fate: TypeAlias = Callable[[Card, Path, int, str], int]


@dataclass(frozen=True)
class Publisher:
    """Another process that publishes what it is told to; see publisher.py."""

    process: "subprocess.Popen[str]"

    def begin(self, card: Card, root: Path, at: int = 0, how: str = "nothing") -> None:
        order = {"card": card_to_json(card), "root": str(root), "at": at, "how": how, "graph": "a graph"}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def publishers() -> Iterator[list[Publisher]]:
    program = [sys.executable, str(Path(__file__).with_name("publisher.py"))]
    with ExitStack() as leaving:
        yield [
            Publisher(leaving.enter_context(subprocess.Popen(program, stdin=PIPE, stdout=PIPE, text=True)))
            for _ in range(3)
        ]


@pytest.fixture
def fate(publishers: list[Publisher]) -> Fate:
    """Publish a card in another process that meets a fate at a step; answers how that process ended."""

    def meet(card: Card, root: Path, at: int, how: str) -> int:
        publishers[0].begin(card, root, at, how)
        return publishers[0].end()

    return meet


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, and every folder, as one value."""
    return {
        str(path.relative_to(folder)): b"" if path.is_dir() else path.read_bytes() for path in sorted(folder.rglob("*"))
    }


def is_whole(root: Path, card: Card) -> bool:
    """Whether the repository serves this card's version; what is listed must be there to the last file."""
    if card.name not in names(root):
        return False
    cards = published(root, card.name).cards
    for version in cards:
        folder = root / card.name / str(version)
        assert {path.name for path in folder.iterdir()} == {"card.json", "model.onnx", "model.py"}
        assert all(path.stat().st_size for path in folder.iterdir())
    return card.version in cards


@pytest.mark.parametrize("how", ["kill", "interrupt", "full"])
@pytest.mark.parametrize("sibling", [False, True])
def test_a_stop_at_any_step_leaves_the_old_state_or_the_new(
    root: Path, put: Put, make_card: MakeCard, fate: Fate, how: str, sibling: bool
) -> None:
    card, endings = make_card(2), set[tuple[int, bool]]()
    for at in count(1):
        shutil.rmtree(root.parent, ignore_errors=True)
        if sibling:
            put(1)
        before = contents(root.parent.parent)
        ended = fate(card, root, at, how)
        committed = is_whole(root, card)
        endings.add((ended, committed))
        if ended == DONE:
            break
        if committed:
            continue
        if how != "kill":
            assert contents(root.parent.parent) == before, f"the stop at step {at} left something"
        else:
            assert fate(card, root, 0, "nothing") == DONE, f"the stop at step {at} stands in the next one's way"
            assert is_whole(root, card)
            assert not home_of(root).exists()
    assert at > 10
    assert endings >= {(STOPPED[how], False), (DONE, True)}


def test_of_many_that_publish_one_version_at_once_exactly_one_wins(
    root: Path, make_card: MakeCard, publishers: list[Publisher]
) -> None:
    for version in range(1, 11):
        for publisher in publishers:
            publisher.begin(make_card(version), root)
        assert sorted(publisher.end() for publisher in publishers) == [DONE, *[REFUSED] * (len(publishers) - 1)]
        assert is_whole(root, make_card(version))
    assert not home_of(root).exists()
