"""A signed version is checked to the byte, and each thing that can be wrong has its own answer."""

import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from lookonce.card import Card
from lookonce.errors import FileChanged, FileMissing, FileUnsigned, NotSigned, UnknownVersion, WrongKey
from lookonce.forge.repository import activate, amend
from lookonce.forge.signing import check_signature, new_keys, private_key, public_key, sign
from lookonce.forge.staging import home_of, staging

Put: TypeAlias = Callable[..., Card]
KEY, OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32), Ed25519PrivateKey.from_private_bytes(b"o" * 32)


@pytest.fixture
def signed(root: Path, put: Put) -> Path:
    """The folder of version 1, signed, in a repository that also holds version 2."""
    put(1)
    put(2)
    sign(root, "shapes", 1, KEY)
    return root / "shapes" / "1"


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def check(root: Path, version: int = 1, name: str = "shapes") -> Card:
    return check_signature(root, name, version, KEY.public_key())


def test_what_was_signed_checks(root: Path, signed: Path) -> None:
    assert check(root).version == 1
    assert check_signature(root, "shapes", None, KEY.public_key()).version == 1
    assert not home_of(root).exists()


def test_the_same_version_has_the_same_manifest_to_the_byte(root: Path, signed: Path) -> None:
    first = (signed / "manifest.json").read_bytes(), (signed / "manifest.sig").read_bytes()
    sign(root, "shapes", 1, KEY)
    assert ((signed / "manifest.json").read_bytes(), (signed / "manifest.sig").read_bytes()) == first


def test_activating_another_version_leaves_the_signature_whole(root: Path, signed: Path) -> None:
    activate(root, "shapes", 2, alongside=[1])
    check(root)


@pytest.mark.parametrize("name", ["model.onnx", "model.py", "card.json"])
def test_one_changed_byte_is_told_with_its_file(root: Path, signed: Path, name: str) -> None:
    whole = (signed / name).read_bytes()
    (signed / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FileChanged, match=f"1/{name} changed since it was signed"):
        check(root)


@pytest.mark.parametrize("name", ["model.onnx", "model.py", "card.json"])
def test_a_missing_file_is_told(root: Path, signed: Path, name: str) -> None:
    (signed / name).unlink()
    with pytest.raises(FileMissing, match=f"1/{name} was signed and is missing"):
        check(root)


@pytest.mark.parametrize("name", ["extra.bin", "nested/extra.bin", "nested/manifest.json", "__pycache__/model.pyc"])
def test_a_file_that_was_not_signed_is_told(root: Path, signed: Path, name: str) -> None:
    (signed / name).parent.mkdir(exist_ok=True)
    (signed / name).write_bytes(b"")
    with pytest.raises(FileUnsigned, match=f"1/{name} was not there when the version was signed"):
        check(root)


def test_a_link_to_a_folder_elsewhere_is_an_unsigned_file(root: Path, signed: Path, tmp_path: Path) -> None:
    (signed / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(FileUnsigned, match="1/elsewhere was not there"):
        check(root)


def test_a_link_in_the_place_of_a_file_is_a_change_even_when_it_leads_to_the_same_bytes(
    root: Path, signed: Path, tmp_path: Path
) -> None:
    (signed / "model.onnx").rename(tmp_path / "model.onnx")
    (signed / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(FileChanged, match=r"1/model.onnx is a link"):
        check(root)
    with pytest.raises(FileChanged, match="cannot be signed"):
        sign(root, "shapes", 1, KEY)


def test_another_key_is_the_wrong_key(root: Path, signed: Path) -> None:
    with pytest.raises(WrongKey, match="was not signed with this key, or its manifest was forged"):
        check_signature(root, "shapes", 1, OTHER_KEY.public_key())


@pytest.mark.parametrize("forged", ["manifest.json", "manifest.sig"])
def test_a_forged_manifest_or_signature_is_no_signature_of_this_key(root: Path, signed: Path, forged: str) -> None:
    whole = (signed / forged).read_bytes()
    for broken in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-1], b""):
        (signed / forged).write_bytes(broken)
        with pytest.raises(WrongKey):
            check(root)


@pytest.mark.parametrize("absent", ["manifest.json", "manifest.sig"])
def test_without_manifest_or_signature_a_version_is_not_signed(root: Path, signed: Path, absent: str) -> None:
    (signed / absent).unlink()
    with pytest.raises(NotSigned, match=r"version 1 of shapes is not signed; sign it with `lookonce model sign"):
        check(root)
    with pytest.raises(NotSigned):
        check(root, version=2)


def test_a_signature_moved_to_another_version_is_noticed(root: Path, signed: Path) -> None:
    for path in signed.iterdir():
        (root / "shapes" / "2" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileChanged, match=r"the signature in .*2 is of something else than version 2 of shapes"):
        check(root, version=2)


def test_something_else_that_was_signed_with_the_key_is_no_manifest(root: Path, signed: Path) -> None:
    for text in (b"[]", b"{}", b"not json", b'{"files": 3}', b'{"files": {}}'):
        (signed / "manifest.json").write_bytes(text)
        (signed / "manifest.sig").write_bytes(KEY.sign(text))
        with pytest.raises(FileChanged, match="is of something else"):
            check(root)


def test_a_card_changed_in_the_config_alone_is_noticed(root: Path, signed: Path) -> None:
    config = root / "shapes" / "config.pbtxt"
    config.write_text(config.read_text().replace("circle", "circus"))
    with pytest.raises(FileChanged, match=r"the card in .*config\.pbtxt is not the one that was signed"):
        check(root)


def test_a_version_whose_folder_is_gone_is_missing(root: Path, signed: Path) -> None:
    signed.rename(signed.with_name("gone"))
    with pytest.raises(FileMissing, match=r"the folder .*1 is missing"):
        check(root)


def test_what_is_amended_after_signing_must_be_signed_again(root: Path, signed: Path) -> None:
    changed = replace(check(root), confidence=0.5)
    with staging(root, "shapes") as folder:
        amend(root, changed, folder)
    with pytest.raises(FileChanged, match=r"card\.json changed"):
        check(root)
    sign(root, "shapes", 1, KEY)
    assert check(root) == changed


def test_a_version_that_is_not_there_cannot_be_signed(root: Path, signed: Path) -> None:
    with pytest.raises(UnknownVersion):
        sign(root, "shapes", 9, KEY)


def test_new_keys_work_and_the_private_one_is_its_owners_alone(root: Path, put: Put, tmp_path: Path) -> None:
    put(1)
    secret = tmp_path / "release.pem"
    public = new_keys(secret)
    assert public == tmp_path / "release.pem.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    sign(root, "shapes", 1, private_key(secret))
    check_signature(root, "shapes", 1, public_key(public))


@pytest.mark.parametrize("taken", ["release.pem", "release.pem.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(WrongKey, match=f"{taken} exists already, and keys are never overwritten"):
        new_keys(tmp_path / "release.pem")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_a_key_cannot_be_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WrongKey, match=r"a key cannot be written to .*No such file"):
        new_keys(tmp_path / "nowhere" / "release.pem")


def test_the_signature_is_one_that_openssl_can_check(signed: Path, tmp_path: Path) -> None:
    public = tmp_path / "public.pem"
    public.write_bytes(public_pem(KEY))
    told = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    files = ["-in", signed / "manifest.json", "-sigfile", signed / "manifest.sig"]
    assert "Verified Successfully" in subprocess.run([*told, *files], capture_output=True, text=True, check=True).stdout


def test_a_file_that_is_no_such_key_is_one_sentence(tmp_path: Path) -> None:
    pem, pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
    rsa = generate_private_key(65537, 2048)
    files = {
        "protected": KEY.private_bytes(pem, pkcs8, BestAvailableEncryption(b"password")),
        "rsa": rsa.private_bytes(pem, pkcs8, NoEncryption()),
        "empty": b"",
        "noise": b"\x00\xff" * 50,
        "public": public_pem(KEY),
        "private": KEY.private_bytes(pem, pkcs8, NoEncryption()),
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    with pytest.raises(WrongKey, match="is protected by a password"):
        private_key(tmp_path / "protected")
    with pytest.raises(WrongKey, match="another kind than Ed25519"):
        private_key(tmp_path / "rsa")
    for name in ("empty", "noise", "public"):
        with pytest.raises(WrongKey, match="holds no private Ed25519 key in PEM form"):
            private_key(tmp_path / name)
    for name in ("empty", "noise", "private", "protected", "rsa"):
        with pytest.raises(WrongKey, match="holds no public Ed25519 key in PEM form"):
            public_key(tmp_path / name)
    for load in (private_key, public_key):
        with pytest.raises(WrongKey, match="cannot be read: No such file"):
            load(tmp_path / "absent")
        with pytest.raises(WrongKey, match="cannot be read: Is a directory"):
            load(tmp_path)
