"""What the repository takes, what it refuses, and that a refusal changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from lookonce.card import Card, Precision, RawHead, Target, Tensor, card_from_json
from lookonce.errors import FaceDiffers, RepositoryRefused, UnknownModel, UnknownVersion, VersionExists
from lookonce.forge.config import config_from_text, config_to_text
from lookonce.forge.repository import (
    activate,
    amend,
    check_admits,
    names,
    next_version,
    published,
    version_folder,
)
from lookonce.forge.staging import check_name, home_of, staging
from lookonce.vision.letterbox import Geometry

MakeCard: TypeAlias = Callable[..., Card]
Put: TypeAlias = Callable[..., Card]
DEFAULT = 'name: "shapes" parameters { key: "default_version" value { string_value: "%s" } } '
CARD = 'parameters { key: "card.%s" value { string_value: "{}" } } '


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): b"" if path.is_dir() else path.read_bytes() for path in sorted(folder.rglob("*"))}


def test_an_empty_repository_holds_nothing_and_its_first_version_is_1(root: Path) -> None:
    assert names(root) == ()
    assert next_version(root, "shapes") == 1
    with pytest.raises(UnknownModel, match=r"no model shapes in .*, which holds nothing"):
        published(root, "shapes")


def test_a_first_version_appears_with_its_config_and_is_served(root: Path, put: Put) -> None:
    card = put(3)
    assert sorted(path.name for path in version_folder(root, card).iterdir()) == ["card.json", "model.onnx", "model.py"]
    assert card_from_json((version_folder(root, card) / "card.json").read_text(), "the file") == card
    there = published(root, "shapes")
    assert (there.cards, there.default_version, there.served) == ({3: card}, 3, (3,))
    assert next_version(root, "shapes") == 4


def test_a_further_version_is_there_and_not_served_until_it_is_activated(root: Path, put: Put) -> None:
    put(1)
    put(2, precision=Precision.FP16)
    there = published(root, "shapes")
    assert (sorted(there.cards), there.default_version, there.served) == ([1, 2], 1, (1,))


def test_a_target_that_needs_no_runtime_file_gets_none(root: Path, put: Put) -> None:
    card = put(1, target=Target.ONNXRUNTIME)
    assert sorted(path.name for path in version_folder(root, card).iterdir()) == ["card.json", "model.onnx"]


def test_nothing_lies_in_the_repository_while_a_version_is_made(root: Path, put: Put) -> None:
    """Triton takes every folder there for a model, hidden ones too, and does not start when one has no config."""
    put(1)
    with staging(root, "another") as folder:
        assert folder.is_dir()
        assert [path.name for path in root.iterdir()] == ["shapes"]
        assert folder.stat().st_dev == root.stat().st_dev
    assert not home_of(root).exists()


def test_an_existing_version_is_never_overwritten(root: Path, put: Put) -> None:
    put(1)
    put(4)
    before = contents(root.parent)
    with pytest.raises(VersionExists, match=r"has a version 1 already.* next free one is 5"):
        put(1, graph=b"another graph")
    assert contents(root.parent) == before


def test_a_folder_that_no_config_mentions_was_never_committed_and_gives_way(root: Path, put: Put) -> None:
    put(1)
    leftover = root / "shapes" / "2"
    leftover.mkdir()
    (leftover / "half.onnx").write_bytes(b"half")
    assert next_version(root, "shapes") == 2
    put(2)
    assert sorted(path.name for path in leftover.iterdir()) == ["card.json", "model.onnx", "model.py"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"geometry": Geometry(320, 480)}, "width 320 instead of 640"),
        ({"geometry": Geometry(640, 640)}, "height 640 instead of 480"),
        ({"candidates": 300}, "candidates 300 instead of 1000"),
        ({"max_batch": 1}, "max_batch 1 instead of 8"),
        ({"target": Target.TENSORRT}, "target tensorrt instead of python"),
        ({"raw": RawHead(Tensor("in", "FP32", (-1, 3, 480, 640)), ())}, "other raw tensors"),
        ({"candidates": 300, "max_batch": 1}, "candidates 300 instead of 1000, max_batch 1 instead of 8"),
    ],
)
def test_a_version_with_another_face_wants_another_name(
    root: Path, put: Put, changes: dict[str, object], told: str
) -> None:
    put(1)
    before = contents(root.parent)
    with pytest.raises(FaceDiffers, match=f"version 2 of shapes would have {told}.*under another name"):
        put(2, **changes)
    assert contents(root.parent) == before


@pytest.mark.parametrize("name", ["shapes", "a", "YOLOv8n-640_fp16", "0", "x" * 64])
def test_a_plain_name_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a.b", "-a", "_a", "a b", "ä", "a\n", "x" * 65]
)
def test_a_name_that_could_leave_its_folder_or_a_line_is_refused_with_the_rule(root: Path, name: str, put: Put) -> None:
    with pytest.raises(RepositoryRefused, match="cannot name a model: a name is 1 to 64 of the letters"):
        put(1, name=name)
    assert not root.exists()


def test_a_second_change_of_a_name_is_refused_while_one_is_under_way(root: Path, put: Put) -> None:
    with staging(root, "shapes"):
        with pytest.raises(
            RepositoryRefused, match=rf"another change of shapes is under way \(process {os.getpid()}\)"
        ):
            put(1)
        put(1, name="another")
    put(1)
    assert names(root) == ("another", "shapes")


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_staged_folder_is_gone_on_every_way_out(root: Path, leaving: type[BaseException]) -> None:
    def leave() -> None:
        with staging(root, "shapes") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise leaving

    with pytest.raises(leaving):
        leave()
    assert not root.parent.exists()


def test_an_empty_folder_that_was_there_before_a_failure_is_there_after_it(root: Path) -> None:
    root.mkdir(parents=True)
    with pytest.raises(ValueError, match="no"), staging(root, "shapes"):
        raise ValueError("no")
    assert list(root.parent.iterdir()) == [root]


def test_what_another_process_left_is_swept_by_the_next_one(root: Path, put: Put) -> None:
    home = home_of(root)
    (home / "gone" / "files").mkdir(parents=True)
    (home / "gone.lock").write_text("999999")
    put(1)
    assert not home.exists()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "No such file"),
        ("", "carries no card"),
        ('name: "shapes" backend: "python"', "carries no card"),
        ("this is no config", "no Triton model config"),
        (DEFAULT % "1", "carries no card"),
        (DEFAULT % "1" + CARD % 1, "cannot be read"),
        (DEFAULT % "x" + CARD % "x", "carries no card"),
        (DEFAULT % "1" + CARD % 1 + CARD % "x", "carries no card"),
    ],
)
def test_a_folder_that_is_not_ours_is_left_alone_and_says_so(
    root: Path, put: Put, config: str | None, told: str
) -> None:
    (root / "shapes").mkdir(parents=True)
    if config is not None:
        (root / "shapes" / "config.pbtxt").write_text(config)
    before = contents(root.parent)
    with pytest.raises(RepositoryRefused, match=f"{told}.*(another name|again)"):
        put(1)
    assert contents(root.parent) == before


def test_a_folder_renamed_by_hand_says_so(root: Path, put: Put) -> None:
    put(1)
    (root / "shapes").rename(root / "forms")
    with pytest.raises(RepositoryRefused, match="renamed by hand"):
        published(root, "forms")


def test_a_file_in_the_place_of_a_model_is_left_alone(root: Path, put: Put) -> None:
    root.mkdir(parents=True)
    (root / "shapes").write_text("mine")
    with pytest.raises(RepositoryRefused):
        put(1)
    assert (root / "shapes").read_text() == "mine"


def test_a_file_in_the_place_of_the_repository_is_one_sentence(root: Path, put: Put) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("mine")
    for attempt in (lambda: put(1), lambda: names(root)):
        with pytest.raises(RepositoryRefused, match="is a file or lies under one; choose a folder with --repository"):
            attempt()
    assert root.read_text() == "mine"


def test_a_repository_below_a_file_is_one_sentence(root: Path, put: Put) -> None:
    root.parent.write_text("mine")
    with pytest.raises(RepositoryRefused, match="is a file or lies under one"):
        put(1)
    assert root.parent.read_text() == "mine"


def test_activating_and_going_back_are_the_same_command(root: Path, put: Put) -> None:
    put(1)
    put(2)
    put(3)
    first = (root / "shapes" / "config.pbtxt").read_text()
    now = activate(root, "shapes", 2, alongside=[3])
    assert (now.default_version, now.served) == (2, (2, 3))
    assert activate(root, "shapes", 1).served == (1,)
    assert (root / "shapes" / "config.pbtxt").read_text() == first
    assert not home_of(root).exists()


@pytest.mark.parametrize("wanted", [(9, []), (1, [9])])
def test_a_version_that_is_not_there_cannot_be_activated(root: Path, put: Put, wanted: tuple[int, list[int]]) -> None:
    put(1)
    put(2)
    before = contents(root.parent)
    with pytest.raises(UnknownVersion, match="has no version 9 in this repository; it has 1, 2"):
        activate(root, "shapes", *wanted)
    assert contents(root.parent) == before


def test_a_model_that_is_not_there_cannot_be_activated(root: Path, put: Put) -> None:
    put(1)
    with pytest.raises(UnknownModel, match=r"no model shape in .*, which holds shapes"):
        activate(root, "shape", 1)


def test_a_version_without_its_plan_cannot_be_activated_until_it_is_built(
    root: Path, put: Put, make_card: MakeCard
) -> None:
    put(1, target=Target.TENSORRT)
    with pytest.raises(RepositoryRefused, match=r"no model.plan; build it with `lookonce model engine shapes`"):
        activate(root, "shapes", 1)
    built = make_card(1, target=Target.TENSORRT, served_sha256="c" * 64)
    with staging(root, "shapes") as folder:
        (folder / "model.plan").write_bytes(b"a plan")
        amend(root, built, folder)
    assert activate(root, "shapes", 1).cards == {1: built}
    assert card_from_json((root / "shapes" / "1" / "card.json").read_text(), "the file") == built
    assert (root / "shapes" / "1" / "model.onnx").read_bytes() == b"a graph"


def test_a_version_that_is_not_there_cannot_be_amended(root: Path, put: Put, make_card: MakeCard) -> None:
    put(1)
    before = contents(root.parent)
    with pytest.raises(UnknownVersion), staging(root, "shapes") as folder:
        amend(root, make_card(2), folder)
    assert contents(root.parent) == before


def test_what_was_edited_by_hand_in_the_config_is_kept(root: Path, put: Put) -> None:
    put(1)
    path = root / "shapes" / "config.pbtxt"
    config = config_from_text(path.read_text(), "the test")
    config.instance_group[0].count = 5
    config.parameters["threads"].string_value = "2"
    path.write_text("# by hand\n" + config_to_text(config))
    put(2)
    activate(root, "shapes", 2)
    kept = config_from_text(path.read_text(), "the test")
    assert (kept.instance_group[0].count, kept.parameters["threads"].string_value) == (5, "2")


def test_the_face_is_checked_before_any_work_is_done(root: Path, put: Put, make_card: MakeCard) -> None:
    check_admits(root, make_card(1))
    put(1)
    check_admits(root, make_card(2))
    with pytest.raises(VersionExists):
        check_admits(root, make_card(1))
    with pytest.raises(FaceDiffers):
        check_admits(root, make_card(2, candidates=1))
