"""Whether a version is still what somebody signed: SHA-256 of every file, under an Ed25519 signature."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from tritonclient.grpc.model_config_pb2 import ModelConfig

from lookonce.card import Card, card_from_json, cards_to_parameters
from lookonce.errors import BackendContractBroken, FileChanged, FileMissing, FileUnsigned, NotSigned, WrongKey
from lookonce.forge.config import cards_of, config_for, config_from_text
from lookonce.forge.repository import CARD, CONFIG, published, version_folder
from lookonce.forge.staging import trouble_in_words, workspace

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
TUNED_FIELDS = (
    "version_policy",
    "max_batch_size",
    "instance_group",
    "dynamic_batching",
    "optimization",
    "model_warmup",
    "response_cache",
    "metric_tags",
    "model_metrics",
)
"""What an operator may set by hand: how fast and how often the signed code runs, never which code."""
TUNED_PARAMETERS = {"threads"}
Digests: TypeAlias = Mapping[str, str]


def new_keys(private: Path) -> Path:
    """Write a private key that only its owner can read and, beside it, the public half, whose path is answered."""
    key, public = Ed25519PrivateKey.generate(), private.with_name(f"{private.name}.pub")
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    told = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with ExitStack() as undo:
        _write_new(private, secret, 0o600, undo)
        _write_new(public, told, 0o644, undo)
        undo.pop_all()
    return public


def private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_key_text(path), None)
    except TypeError as error:
        message = f"{path} is protected by a password; write it without one (`openssl pkey -in {path} -out NEW`)."
        raise WrongKey(message) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WrongKey(f"{path} holds no private Ed25519 key in PEM form; --new-key makes one.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongKey(f"{path} holds a private key of another kind than Ed25519; --new-key makes one.")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    wanted = f"{path} holds no public Ed25519 key in PEM form; name the .pub file that lies beside the private key."
    try:
        key = load_pem_public_key(_key_text(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WrongKey(wanted) from error
    if not isinstance(key, Ed25519PublicKey):
        raise WrongKey(wanted)
    return key


def sign(root: Path, name: str, version: int | None, key: Ed25519PrivateKey) -> Card:
    """Write the manifest and its signature into the version's folder; answers the card that was signed."""
    published(root, name)
    with workspace(root, name) as desk, trouble_in_words(root):
        card = published(root, name).card(version)
        folder = version_folder(root, card)
        manifest = _manifest(card, {path.as_posix(): _digest(folder, path) for path in _entries(folder)})
        (desk / MANIFEST).write_bytes(manifest)
        (desk / SIGNATURE).write_bytes(key.sign(manifest))
        for part in (MANIFEST, SIGNATURE):
            (desk / part).replace(folder / part)
        return card


def check_signature(root: Path, name: str, version: int | None, key: Ed25519PublicKey) -> Card:
    """The card of a version of which Triton runs what was signed. Raises the SignatureRefused that fits."""
    card = published(root, name).card(version)
    with trouble_in_words(root):
        folder = version_folder(root, card)
        config = config_from_text((folder.parent / CONFIG).read_text(encoding="utf-8"), str(folder.parent / CONFIG))
        if not folder.is_dir():
            raise FileMissing(f"the folder {folder} is missing; import {name} from its source again.")
        _check_files(folder, card, _signed_digests(folder, card, key))
        _check_card(folder, card)
        _check_config(folder.parent / CONFIG, config, card)
        _check_surroundings(folder.parent, config)
    return card


def _signed_digests(folder: Path, card: Card, key: Ed25519PublicKey) -> Digests:
    try:
        manifest, signature = (folder / MANIFEST).read_bytes(), (folder / SIGNATURE).read_bytes()
    except FileNotFoundError as error:
        what = f"version {card.version} of {card.name}"
        raise NotSigned(f"{what} is not signed; sign it with `lookonce model sign {card.name}`.") from error
    try:
        key.verify(signature, manifest)
    except InvalidSignature as error:
        message = f"{folder} was not signed with this key, or its manifest was forged; check the key, then the source."
        raise WrongKey(message) from error
    return _digests_for(card, manifest, folder)


def _digests_for(card: Card, manifest: bytes, folder: Path) -> Digests:
    """What a manifest that was truly signed tells of this very version."""
    with suppress(ValueError, KeyError, TypeError):
        digests: Digests = json.loads(manifest)["files"]
        if manifest == _manifest(card, digests):
            return digests
    message = f"the signature in {folder} is of something else than version {card.version} of {card.name}"
    raise FileChanged(f"{message}; import the model from its source again.")


def _check_files(folder: Path, card: Card, digests: Digests) -> None:
    entries = {path.as_posix(): path for path in _entries(folder)}
    mend = f"import {card.name} from its source again, or sign it if the change is yours."
    for name, digest in sorted(digests.items()):
        if name not in entries:
            raise FileMissing(f"{folder / name} was signed and is missing; {mend}")
        if _digest(folder, entries[name]) != digest:
            raise FileChanged(f"{folder / name} changed since it was signed; {mend}")
    for name in sorted(entries.keys() - digests.keys()):
        raise FileUnsigned(f"{folder / name} was not there when the version was signed; remove it, or {mend}")


def _check_card(folder: Path, card: Card) -> None:
    """Triton tells the card out of the config, which the manifest does not cover."""
    try:
        signed = card_from_json((folder / CARD).read_bytes(), str(folder))
    except (FileNotFoundError, BackendContractBroken) as error:
        raise FileMissing(f"{folder / CARD} cannot be read, so nothing says what was signed: {error}.") from error
    if signed != card:
        config = folder.parent / CONFIG
        raise FileChanged(f"the card in {config} is not the one that was signed; import {card.name} again.")


def _check_config(path: Path, config: ModelConfig, card: Card) -> None:
    """Triton also tells out of the config which code to run, so all that is not tuning must be as we write it."""
    ours, theirs = _told(config_for(card)), _told(config)
    changed = [field for field in sorted(ours.keys() | theirs.keys()) if ours.get(field) != theirs.get(field)]
    changed += [f"parameters {key!r}" for key in sorted(_foreign_parameters(config))]
    if config.optimization.HasField("execution_accelerators"):
        changed.append("optimization.execution_accelerators")
    if changed:
        message = f"{path} differs in {changed[0]} from what was written for {card.name}, so other code could run"
        raise FileChanged(f"{message}; undo that change, or import {card.name} from its source again.")


def _told(config: ModelConfig) -> dict[str, Any]:
    """Each field that the config sets, but for those that are tuned and for the parameters."""
    told = {field.name: value for field, value in config.ListFields()}
    return {name: value for name, value in told.items() if name not in (*TUNED_FIELDS, "parameters")}


def _foreign_parameters(config: ModelConfig) -> set[str]:
    return set(config.parameters) - cards_to_parameters(*cards_of(config)).keys() - TUNED_PARAMETERS


def _check_surroundings(home: Path, config: ModelConfig) -> None:
    """Beside the versions Triton looks for code too: a backend's library, a Python stub, another config."""
    versions = {str(version) for version in cards_of(config)[0]}
    for path in (home, *sorted(home.iterdir())):
        if path.is_symlink():
            raise FileChanged(f"{path} is a link, whose target nobody signed; put what it leads to in its place.")
        if path != home and path.name != CONFIG and not (path.name in versions and path.is_dir()):
            raise FileUnsigned(f"{path} lies beside the versions of {home.name} and nobody signed it; remove it.")


def _manifest(card: Card, digests: Digests) -> bytes:
    """Canonical JSON, so that the same version has the same manifest, to the byte."""
    told = {"files": dict(digests), "name": card.name, "version": card.version}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _entries(folder: Path) -> list[Path]:
    """Everything in the folder that is no folder, except the signature itself; relative to it."""
    entries = (path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path for path in entries if path.as_posix() not in {MANIFEST, SIGNATURE})


def _digest(folder: Path, path: Path) -> str:
    if not (folder / path).is_file() or (folder / path).is_symlink():
        raise FileChanged(f"{folder / path} is a link or no plain file, which cannot be signed; put the file itself.")
    with (folder / path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key_text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongKey(f"the key {path} cannot be read: {error.strerror}; name a PEM file with --key.") from error


def _write_new(path: Path, text: bytes, mode: int, undo: ExitStack) -> None:
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        undo.callback(path.unlink, missing_ok=True)
        with os.fdopen(opened, "wb") as file:
            file.write(text)
    except FileExistsError as error:
        raise WrongKey(f"{path} exists already, and keys are never overwritten; name another file.") from error
    except OSError as error:
        raise WrongKey(f"a key cannot be written to {path}: {error.strerror}; name another file.") from error
