"""A signed version is checked to the byte, and each thing that can be wrong has its own answer."""

import json
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
from google.protobuf import text_format

from lookonce.card import Card, Target
from lookonce.errors import FileChanged, FileMissing, FileUnsigned, NotSigned, UnknownVersion, WrongKey
from lookonce.forge.config import config_from_text, config_to_text
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


def parameter(key: str, text: str) -> str:
    return f"parameters {{ key: {json.dumps(key, ensure_ascii=False)} value {{ string_value: {json.dumps(text)} }} }}"


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


def rewrite(root: Path, change: str) -> None:
    """Merge the fields of a text over the config, as somebody with an editor would."""
    path = root / "shapes" / "config.pbtxt"
    path.write_text(config_to_text(text_format.Merge(change, config_from_text(path.read_text(), str(path)))))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("default_model_filename", 'default_model_filename: "../x/evil.py"'),
        ("backend", 'backend: "evil"'),
        ("runtime", 'runtime: "libevil.so"'),
        ("platform", 'platform: "onnxruntime_onnx"'),
        ("cc_model_filenames", 'cc_model_filenames { key: "8.0" value: "../x/evil.py" }'),
        ("model_operations", 'model_operations { op_library_filename: "evil.so" }'),
        ("model_operations", "model_operations {}"),
        ("model_repository_agents", 'model_repository_agents { agents { name: "evil" } }'),
        ("ensemble_scheduling", 'ensemble_scheduling { step { model_name: "evil" model_version: -1 } }'),
        ("sequence_batching", "sequence_batching {}"),
        ("model_transaction_policy", "model_transaction_policy { decoupled: true }"),
        ("input", 'input { name: "more" data_type: TYPE_FP32 dims: 1 }'),
        ("output", 'output { name: "more" data_type: TYPE_FP32 dims: 1 }'),
        ("batch_input", 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" source_input: "images" }'),
        (
            r"optimization\.execution_accelerators",
            'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }',
        ),
        ("parameters 'EXECUTION_ENV_PATH'", parameter("EXECUTION_ENV_PATH", "/evil.tar.gz")),
    ],
)
def test_a_config_that_could_run_other_code_is_refused_by_its_field(
    root: Path, signed: Path, field: str, change: str
) -> None:
    rewrite(root, change)
    with pytest.raises(FileChanged, match=rf"config\.pbtxt differs in {field} from what was written for shapes"):
        check(root)


def test_a_card_under_a_digit_that_is_not_ours_is_refused(root: Path, signed: Path) -> None:
    rewrite(root, parameter("card.\u0661", (signed / "card.json").read_text()))
    with pytest.raises(FileChanged, match=r"differs in parameters 'card\.\u0661'"):
        check(root)


def test_a_config_whose_tensors_have_other_sides_is_refused(root: Path, signed: Path) -> None:
    config = root / "shapes" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: 1000", "dims: 999"))
    with pytest.raises(FileChanged, match="differs in output from"):
        check(root)


@pytest.mark.parametrize(
    "change",
    [
        "max_batch_size: 4",
        "instance_group { count: 3 kind: KIND_CPU }",
        "dynamic_batching { max_queue_delay_microseconds: 7 default_queue_policy { max_queue_size: 9 } }",
        "optimization { priority: PRIORITY_MAX cuda { graphs: true } }",
        'model_warmup { name: "more" batch_size: 2 }',
        "version_policy { all {} }",
        "response_cache { enable: true }",
        parameter("threads", "3"),
        parameter("default_version", "2"),
    ],
)
def test_what_is_tuned_by_hand_leaves_the_signature_whole(root: Path, signed: Path, change: str) -> None:
    rewrite(root, change)
    assert check(root).version == 1


@pytest.mark.parametrize("target", list(Target))
def test_every_target_checks_as_it_was_published(root: Path, put: Put, target: Target) -> None:
    put(1, target=target)
    sign(root, "shapes", 1, KEY)
    assert check(root).target is target


@pytest.mark.parametrize("name", ["x/evil.py", "libtriton_python.so", "configs/a.pbtxt", "01/model.py", "3/model.py"])
def test_anything_beside_the_versions_is_refused(root: Path, signed: Path, name: str) -> None:
    stray = root / "shapes" / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("evil")
    with pytest.raises(FileUnsigned, match=f"shapes/{Path(name).parts[0]} lies beside the versions of shapes"):
        check(root)


def test_a_file_in_the_place_of_a_version_is_refused(root: Path, signed: Path) -> None:
    (root / "shapes" / "2").rename(root.parent / "2")
    (root / "shapes" / "2").write_text("evil")
    with pytest.raises(FileUnsigned, match="shapes/2 lies beside"):
        check(root)


@pytest.mark.parametrize("name", ["shapes", "shapes/1", "shapes/2", "shapes/config.pbtxt"])
def test_a_link_anywhere_is_refused(root: Path, signed: Path, name: str) -> None:
    (root / name).rename(root.parent / "elsewhere")
    (root / name).symlink_to(root.parent / "elsewhere")
    with pytest.raises(FileChanged, match=f"{name} is a link, whose target nobody signed"):
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
