"""The model repository: what it holds, how a version appears in it, and which one is served.

A name's `config.pbtxt` lists its versions; a version folder that no config mentions was never committed.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from lookonce.card import Card, Target, card_to_json
from lookonce.errors import (
    BackendContractBroken,
    FaceDiffers,
    RepositoryRefused,
    UnknownModel,
    UnknownVersion,
    VersionExists,
)
from lookonce.forge.config import (
    RUNTIMES,
    activated,
    cards_of,
    config_for,
    config_from_text,
    config_to_text,
    served_versions,
    with_version,
)
from lookonce.forge.staging import check_name, trouble_in_words, workspace

CONFIG, CARD = "config.pbtxt", "card.json"


@dataclass(frozen=True, slots=True)
class Published:
    """A name of the repository: its versions, those that Triton is told to serve, and the default."""

    name: str
    cards: Mapping[int, Card]
    default_version: int
    served: tuple[int, ...]

    def card(self, version: int | None = None) -> Card:
        wanted = self.default_version if version is None else version
        if wanted not in self.cards:
            there = ", ".join(map(str, sorted(self.cards)))
            raise UnknownVersion(f"{self.name} has no version {wanted} in this repository; it has {there}.")
        return self.cards[wanted]


def names(root: Path) -> tuple[str, ...]:
    """Every folder in the repository that Triton would take for a model."""
    with trouble_in_words(root):
        folders = [path.name for path in root.iterdir() if path.is_dir()] if root.exists() else []
        return tuple(sorted(name for name in folders if not name.startswith(".")))


def published(root: Path, name: str) -> Published:
    """What the repository holds under a name. Raises UnknownModel where there is none."""
    check_name(name)
    if not _is_taken(root, name):
        there = ", ".join(names(root)) or "nothing"
        raise UnknownModel(f"there is no model {name} in {root}, which holds {there}; see `lookonce model import`.")
    config = _config(root, name)
    cards, default = cards_of(config)
    return Published(name, cards, default, served_versions(config))


def version_folder(root: Path, card: Card) -> Path:
    return root / card.name / str(card.version)


def next_version(root: Path, name: str) -> int:
    return max(published(root, name).cards) + 1 if _is_taken(root, name) else 1


def check_admits(root: Path, card: Card) -> None:
    """Whether the repository would take this version. Raises VersionExists, FaceDiffers or RepositoryRefused."""
    check_name(card.name)
    if not _is_taken(root, card.name):
        return
    cards = published(root, card.name).cards
    if card.version in cards:
        raise VersionExists(
            f"{card.name} has a version {card.version} already, and versions are never overwritten; "
            f"the next free one is {max(cards) + 1}."
        )
    _check_face(card, cards[max(cards)])


def publish(root: Path, card: Card, folder: Path) -> None:
    """Make the staged folder (see `staging`) a version of its name; the config's rename is the commit."""
    check_admits(root, card)
    with trouble_in_words(root):
        _furnish(folder, card)
        if _is_taken(root, card.name):
            _add_version(root, card, folder)
        else:
            _add_name(root, card, folder)


def amend(root: Path, card: Card, folder: Path) -> None:
    """Put the staged files into a version that exists, each whole, and the card with what is now known of it."""
    _check_face(card, published(root, card.name).card(card.version))
    with trouble_in_words(root):
        _furnish(folder, card)
        config = _write_config(with_version(_config(root, card.name), card), folder.parent)
        for path in sorted(folder.iterdir()):
            path.replace(version_folder(root, card) / path.name)
        _sync(version_folder(root, card))
        _put_config(config, root / card.name)


def activate(root: Path, name: str, version: int, alongside: Collection[int] = ()) -> Published:
    """Serve exactly this version, by default, and those alongside; answers what is served now."""
    published(root, name)
    with workspace(root, name) as desk, trouble_in_words(root):
        there = published(root, name)
        for wanted in (version, *alongside):
            _check_can_serve(root, there.card(wanted))
        config = _write_config(activated(_config(root, name), version, alongside), desk)
        _put_config(config, root / name)
        return published(root, name)


def _is_taken(root: Path, name: str) -> bool:
    return os.path.lexists(root / name)


def _config(root: Path, name: str) -> ModelConfig:
    """The config of a name, which lookonce wrote and whose cards can be read."""
    path = root / name / CONFIG
    try:
        config = config_from_text(path.read_text(encoding="utf-8"), str(path))
        cards, _ = cards_of(config)
    except (OSError, ValueError, BackendContractBroken) as error:
        raise RepositoryRefused(
            f"{root / name} was not made by `lookonce model import`, or its {CONFIG} was damaged "
            f"({str(error).rstrip('.')}); move that folder away, or choose another name."
        ) from error
    if config.name != name or any((name, key) != (card.name, card.version) for key, card in cards.items()):
        raise RepositoryRefused(
            f"{root / name} holds the config of another model or version; give what was renamed by hand its old "
            f"name back, or import the model again as {name}."
        )
    return config


def _check_face(card: Card, sibling: Card) -> None:
    ours, theirs = asdict(card.face), asdict(sibling.face)
    told = {field: f"{field} {ours[field]} instead of {theirs[field]}" for field in ours} | {"raw": "other raw tensors"}
    differing = ", ".join(told[field] for field in ours if ours[field] != theirs[field])
    if differing:
        raise FaceDiffers(
            f"version {card.version} of {card.name} would have {differing}, and all versions of a name share these; "
            "import it under another name."
        )


def _check_can_serve(root: Path, card: Card) -> None:
    runtime = RUNTIMES[card.target]
    if (version_folder(root, card) / runtime.filename).exists():
        return
    mend = f"build it with `lookonce model engine {card.name}`" if card.target is Target.TENSORRT else "import it again"
    raise RepositoryRefused(f"version {card.version} of {card.name} has no {runtime.filename}; {mend}.")


def _furnish(folder: Path, card: Card) -> None:
    """What every version folder holds besides its graph, on the disk for good."""
    (folder / CARD).write_text(card_to_json(card, indent=2) + "\n", encoding="utf-8")
    if card.target is Target.PYTHON:
        with as_file(files("lookonce.forge") / "python_backend" / "model.py") as runtime:
            shutil.copyfile(runtime, folder / runtime.name)
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _add_name(root: Path, card: Card, folder: Path) -> None:
    whole = folder.parent / "whole"
    whole.mkdir()
    folder.rename(whole / str(card.version))
    _write_config(config_for(card), whole)
    root.mkdir(parents=True, exist_ok=True)
    whole.rename(root / card.name)
    _sync(root)


def _add_version(root: Path, card: Card, folder: Path) -> None:
    target, desk = version_folder(root, card), folder.parent
    config = _write_config(with_version(_config(root, card.name), card), desk)
    if target.exists():
        target.rename(desk / "leftover")
    try:
        folder.rename(target)
        _put_config(config, target.parent)
    finally:
        if config.exists() and not folder.exists():
            target.rename(desk / "withdrawn")


def _put_config(config: Path, folder: Path) -> None:
    _sync(folder)
    config.replace(folder / CONFIG)
    _sync(folder)


def _write_config(config: ModelConfig, desk: Path) -> Path:
    path = desk / CONFIG
    path.write_text(config_to_text(config), encoding="utf-8")
    _sync(path)
    _sync(desk)
    return path


def _sync(path: Path) -> None:
    """Everything written to the file or folder so far is on the disk when this returns."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
