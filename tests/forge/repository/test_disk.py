"""A disk that is full or read-only: a real one, small and mounted for the test."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from lookonce.card import Card
from lookonce.errors import LookOnceError, RepositoryRefused
from lookonce.forge.repository import activate, publish, published
from lookonce.forge.staging import staging

MakeCard: TypeAlias = Callable[..., Card]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): b"" if path.is_dir() else path.read_bytes() for path in sorted(folder.rglob("*"))}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    tried = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@pytest.mark.parametrize("inside", ["", "models/cpu"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path, make_card: MakeCard, inside: str) -> None:
    root = small_disk / inside
    before = contents(small_disk)
    with (
        pytest.raises(RepositoryRefused, match=f"the disk that holds {root} is full"),
        staging(root, "shapes") as folder,
    ):
        (folder / "model.onnx").write_bytes(b"x" * 300_000)
    assert contents(small_disk) == before


def test_a_disk_that_fills_up_in_the_last_moment_leaves_the_siblings_as_they_were(
    small_disk: Path, make_card: MakeCard
) -> None:
    root = small_disk / "cpu"
    with staging(root, "shapes") as folder:
        (folder / "model.onnx").write_bytes(b"x")
        publish(root, make_card(1), folder)
    before = contents(small_disk)

    def fill_up_and_publish() -> None:
        with staging(root, "shapes") as folder:
            with (folder / "model.onnx").open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            publish(root, make_card(2), folder)

    with pytest.raises(RepositoryRefused, match="is full"):
        fill_up_and_publish()
    assert contents(small_disk) == before


def test_a_read_only_repository_is_one_sentence(small_disk: Path, make_card: MakeCard) -> None:
    root = small_disk / "cpu"
    with staging(root, "shapes") as folder:
        (folder / "model.onnx").write_bytes(b"x")
        publish(root, make_card(1), folder)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = contents(small_disk)

    def stage() -> None:
        with staging(root, "shapes"):
            pytest.fail("it was staged")

    for attempt in (stage, lambda: activate(root, "shapes", 1)):
        with pytest.raises(LookOnceError, match=r"read-only|may not be written") as refusal:
            attempt()
        assert isinstance(refusal.value, RepositoryRefused)
    assert contents(small_disk) == before
    assert published(root, "shapes").default_version == 1
