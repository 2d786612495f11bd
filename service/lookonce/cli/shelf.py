"""What lies in a model repository: list, show, activate, sign and check-signature."""

import shlex
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from lookonce.card import Accuracy, Agreement, Card, Engine, Parity, card_to_json
from lookonce.cli import console
from lookonce.errors import LocalTritonFailed, RepositoryRefused
from lookonce.forge import repository as shelf
from lookonce.forge import signing
from lookonce.forge.parity import doubt_of
from lookonce.forge.repository import Published
from lookonce.local.endpoint import Endpoint, reload_model, running

HERE = Path("model_repository/cpu")
Name: TypeAlias = Annotated[str, typer.Argument(help="The model's name.")]
Version: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Which version; without it the default one.")]
Repository: TypeAlias = Annotated[Path, typer.Option(help="The model repository's folder.")]


def list_models(repository: Repository = HERE) -> None:
    """Every model and version in the repository."""
    table = Table(box=None)
    for heading in ("name", "version", "served", "layout", "size", "precision", "checked", "digest"):
        table.add_column(heading, overflow="fold")
    for name in shelf.names(repository):
        try:
            model = shelf.published(repository, name)
        except RepositoryRefused as error:
            typer.echo(f"{error.code}: {error}", err=True)
            continue
        for version in sorted(model.cards):
            table.add_row(*map(Text, _row(model, model.cards[version])))
    if table.row_count:
        console.out.print(table, highlight=False)
    else:
        typer.echo(f"No model in {repository} yet; `lookonce model import` puts one there.", err=True)


def show(
    name: Name,
    version: Version = None,
    repository: Repository = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="The card itself, for programs.")] = False,
) -> None:
    """What a version says of itself."""
    model = shelf.published(repository, name)
    card = model.card(version)
    if as_json:
        typer.echo(card_to_json(card, indent=2))
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for fact, value in _facts(model, card).items():
        table.add_row(Text(fact, "bold"), Text(value))
    console.out.print(table, highlight=False)


def activate(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="The version to serve by default.")],
    alongside: Annotated[list[int] | None, typer.Option(min=1, help="Another version to serve when asked for.")] = None,
    repository: Repository = HERE,
) -> None:
    """Serve this version by default, at once in a running local Triton. Going back is the same command."""
    before = shelf.published(repository, name)
    now = shelf.activate(repository, name, version, alongside or ())
    others = ", ".join(map(str, _alongside(now)))
    also = f", and {others} when asked for" if others else ""
    reloaded = _reload(repository, before, now)
    typer.echo(f"{name} serves version {version} by default{also}. {reloaded}")
    if before.default_version != version:
        typer.echo(f"To go back: {_way_back(before, repository)}", err=True)


def sign(
    name: Name,
    key: Annotated[Path, typer.Option(help="The private Ed25519 key, a PEM file.")],
    version: Version = None,
    repository: Repository = HERE,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key first; its public half is KEY.pub.")] = False,
) -> None:
    """Sign every file of a version with an Ed25519 key."""
    if new_key:
        public = signing.new_keys(key)
        typer.echo(f"Keep {key} secret; give {public} to those who check.")
    card = signing.sign(repository, name, version, signing.private_key(key))
    typer.echo(f"Signed {name} version {card.version}.")


def check_signature(
    name: Name,
    key: Annotated[Path, typer.Option(help="The public Ed25519 key, a PEM file.")],
    version: Version = None,
    repository: Repository = HERE,
) -> None:
    """Whether every file of a version is as it was signed, and Triton runs no other code for it."""
    card = signing.check_signature(repository, name, version, signing.public_key(key))
    message = f"{name} version {card.version} is as it was signed: every file, and what its config has Triton run."
    typer.echo(message)


def _reload(repository: Path, before: Published, now: Published) -> str:
    """Have every running local Triton take the change; where one cannot, all go back to what they served."""
    endpoints = running(repository)
    if not endpoints:
        return "No local Triton runs on this repository; the next one that starts takes it."
    for tried, endpoint in enumerate(endpoints, start=1):
        try:
            reload_model(endpoint, now.name)
        except LocalTritonFailed as error:
            left = _take_back(repository, before, now, endpoints[:tried])
            raise LocalTritonFailed(f"{error} {left}") from error
    return " ".join(f"The local Triton at {endpoint.grpc_url} took it." for endpoint in endpoints)


def _take_back(repository: Path, before: Published, now: Published, endpoints: tuple[Endpoint, ...]) -> str:
    """Undo our own change and no other's; answers what is left, in words."""
    there = shelf.published(repository, now.name)
    if (there.default_version, there.served) != (now.default_version, now.served):
        return f"The repository was changed meanwhile and stays so, with version {there.default_version} the default."
    shelf.activate(repository, before.name, before.default_version, _alongside(before))
    told = [f"Version {before.default_version} stays the default."]
    for endpoint in endpoints:
        try:
            reload_model(endpoint, before.name)
        except LocalTritonFailed as error:
            told.append(f"Going back failed too: {error}")
    return " ".join(told)


def _way_back(before: Published, repository: Path) -> str:
    words = ["lookonce", "model", "activate", before.name, str(before.default_version)]
    for version in _alongside(before):
        words += ["--alongside", str(version)]
    return shlex.join(words if repository == HERE else [*words, "--repository", str(repository)])


def _alongside(model: Published) -> list[int]:
    return [version for version in model.served if version != model.default_version]


def _row(model: Published, card: Card) -> tuple[str, ...]:
    size, digest = f"{card.geometry.width}x{card.geometry.height}", card.served_sha256[:8]
    checked = _parity(card.parity) if card.agreement is None else _agreement(card.agreement)
    return card.name, str(card.version), _served(model, card), card.layout, size, card.precision, checked, digest


def _facts(model: Published, card: Card) -> dict[str, str]:
    geometry, suppression = card.geometry, f"needed, at confidence {card.confidence} and IoU {card.iou}"
    return {
        "model": f"{card.name} version {card.version}",
        "served": _served(model, card),
        "labels": f"{len(card.labels)}: {', '.join(card.labels)}",
        "input": f"{geometry.width}x{geometry.height}, {geometry.fit}, padded with {geometry.pad_value}",
        "layout": card.layout,
        "suppression": suppression if card.needs_nms else "not needed",
        "candidates": str(card.candidates),
        "largest batch": str(card.max_batch),
        "precision": card.precision,
        "target": card.target,
        "accuracy": _accuracy(card.accuracy),
        "equals source": doubt_of(card.parity) or _parity(card.parity),
        "agrees with fp32": _agreement(card.agreement),
        "engine": _engine(card.engine),
        "exporter": card.exporter,
        "created": card.created,
        "source sha256": card.source_sha256,
        "served sha256": card.served_sha256,
    }


def _served(model: Published, card: Card) -> str:
    if card.version == model.default_version:
        return "default"
    return "alongside" if card.version in model.served else "no"


def _accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "not told by the file"
    return f"mAP@0.5 {accuracy.map50:.4f}, mAP@0.5:0.95 {accuracy.map50_95:.4f}, as its trainer measured it"


def _parity(parity: Parity | None) -> str:
    if doubt_of(parity):
        return "not proved"
    return "no" if parity is None else f"within {parity.worst_box_px:.1g} px"


def _engine(engine: Engine | None) -> str:
    return "none" if engine is None else f"TensorRT {engine.tensorrt_version} on {engine.gpu}, built {engine.built}"


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None:
        return "not measured"
    notes = [word for word, holds in (("accepted", agreement.accepted), ("emulated", agreement.emulated)) if holds]
    return ", ".join((f"{agreement.share:.1%} {agreement.verdict}", *notes))
