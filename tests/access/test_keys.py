"""The key file: what it may say, and how it is written."""

import json
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lookonce.access.keys import Client, changing, clients_from_json, clients_to_json, content_of, hash_of, new_key
from lookonce.errors import SettingsRefused

HERE = Path("keys.json")
PAGE = Path(__file__).parents[2] / "docs" / "access.md"
ONE, OTHER, THIRD = (f"sha256:{letter * 64}" for letter in "abc")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root who is somebody else for a while."""
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)


def file_of(*clients: object) -> str:
    return json.dumps({"clients": clients})


def read(text: str | bytes) -> tuple[Client, ...]:
    return clients_from_json(text, HERE)


def test_a_key_is_32_random_bytes_in_letters_that_a_header_and_a_shell_take() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("lo_")
        assert len(key) == 3 + 43
        assert key.isascii()
        assert key.replace("-", "").replace("_", "").isalnum()


def test_a_key_is_kept_as_its_sha256() -> None:
    assert hash_of("lo_abc") == "sha256:" + sha256(b"lo_abc").hexdigest()


@pytest.mark.parametrize("key", ["", "\x00", "ÿ", "🔑", "\udcff", "a" * 100_000], ids=ascii)
def test_whatever_somebody_sends_has_a_hash(key: str) -> None:
    assert len(hash_of(key)) == len(ONE)


def test_a_client_needs_a_name_and_a_key_alone() -> None:
    (client,) = read(file_of({"name": "frigate", "keys": [ONE]}))
    assert client == Client("frigate", (ONE,))
    assert client.models is None


def test_a_file_says_what_a_client_may_have() -> None:
    given = {"images_per_s": 50, "burst": 100, "concurrency": 8, "models": ["shapes"]}
    (client,) = read(file_of({"name": "frigate", "keys": [ONE, OTHER], **given}))
    assert client == Client("frigate", (ONE, OTHER), 50.0, 100, 8, ("shapes",))


def test_what_is_written_is_read_as_it_was() -> None:
    clients = (Client("a", (ONE,)), Client("b.c-d_1", (OTHER, THIRD), 0.5, 3, 1, ("x", "y")))
    assert read(clients_to_json(clients)) == clients
    assert b"null" not in clients_to_json(clients)


def test_nobody_may_be_let_in() -> None:
    assert read(file_of()) == ()


def test_a_hash_is_not_shown() -> None:
    assert "aaaa" not in repr(Client("a", (ONE,)))


BROKEN: tuple[tuple[str | bytes, str], ...] = (
    ("", "line 1 column 0"),
    ("{", "line 1 column 1"),
    ('{"clients": [\n{"name": "a",}\n]}', "line 2 column 14"),
    (b"\xff\xfe", "line 1"),
    ("[]", "should be an object"),
    ("{}", "clients: "),
    ('{"clients": {}}', "clients: "),
    ('{"clients": [], "more": 1}', "more: "),
    (file_of("frigate"), r"clients\[0\]: "),
    (file_of({"keys": [ONE]}), r"clients\[0\]\.name: "),
    (file_of({"name": "a"}), r"clients\[0\]\.keys: "),
    (file_of({"name": "a", "keys": []}), r"clients\[0\]\.keys: "),
    (file_of({"name": "a", "keys": [ONE, OTHER, THIRD]}), r"clients\[0\]\.keys: .*at most 2"),
    (file_of({"name": "a", "keys": [ONE]}, {"name": "b", "keys": ["md5:00"]}), r"clients\[1\]\.keys\[0\]: "),
    (file_of({"name": "a", "keys": [ONE.upper()]}), r"clients\[0\]\.keys\[0\]: "),
    (file_of({"name": "a", "keys": [ONE + "\n"]}), r"clients\[0\]\.keys\[0\]: "),
    (file_of({"name": "", "keys": [ONE]}), r"clients\[0\]\.name: "),
    (file_of({"name": "a b", "keys": [ONE]}), r"clients\[0\]\.name: "),
    (file_of({"name": "a\n", "keys": [ONE]}), r"clients\[0\]\.name: "),
    (file_of({"name": "a" * 65, "keys": [ONE]}), r"clients\[0\]\.name: "),
    (file_of({"name": "a", "keys": [ONE], "image_per_s": 5}), r"clients\[0\]\.image_per_s: "),
    (file_of({"name": "a", "keys": [ONE], "images_per_s": 0}), r"clients\[0\]\.images_per_s: "),
    (file_of({"name": "a", "keys": [ONE], "images_per_s": float("nan")}), r"clients\[0\]\.images_per_s: "),
    (file_of({"name": "a", "keys": [ONE], "images_per_s": float("inf")}), r"clients\[0\]\.images_per_s: "),
    (file_of({"name": "a", "keys": [ONE], "images_per_s": 5, "burst": 0}), r"clients\[0\]\.burst: "),
    (file_of({"name": "a", "keys": [ONE], "burst": 5}), "gives a a burst without images_per_s"),
    (file_of({"name": "a", "keys": [ONE], "concurrency": 1.5}), r"clients\[0\]\.concurrency: "),
    (file_of({"name": "a", "keys": [ONE], "models": []}), r"clients\[0\]\.models: "),
    (file_of({"name": "a", "keys": [ONE]}, {"name": "a", "keys": [OTHER]}), "names a client twice"),
    (file_of({"name": "a", "keys": [ONE]}, {"name": "b", "keys": [ONE]}), "holds a key twice"),
    (file_of({"name": "a", "keys": [ONE, ONE]}), "holds a key twice"),
)


@pytest.mark.parametrize(("text", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_a_broken_file_is_refused_with_the_place(text: str | bytes, told: str) -> None:
    with pytest.raises(SettingsRefused, match=told) as refused:
        read(text)
    assert str(refused.value).startswith("the key file keys.json ")
    assert "\n" not in str(refused.value)


def test_a_key_that_was_written_in_the_clear_is_not_repeated() -> None:
    key = new_key()
    with pytest.raises(SettingsRefused) as refused:
        read(file_of({"name": "a", "keys": [key]}))
    assert key not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match=r"No such file.*`lookonce key new` makes one"):
        content_of(tmp_path / "keys.json")


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with changing(file) as clients:
        clients.append(Client("a", (ONE,)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read(content_of(file)) == (Client("a", (ONE,)),)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o400])
def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "keys.json"
    file.write_text(file_of())
    file.chmod(mode)
    with changing(file) as clients:
        clients.append(Client("a", (ONE,)))
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert read(content_of(file)) == (Client("a", (ONE,)),)


@needs_root
def test_a_file_that_is_there_keeps_its_owner_who_reads_it_while_we_serve(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(file_of())
    os.chown(file, 12345, 23456)
    with changing(file) as clients:
        clients.append(Client("a", (ONE,)))
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


@needs_root
def test_where_the_owner_cannot_be_kept_nothing_is_written() -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        file.write_text(file_of())
        Path(folder).chmod(0o777)
        told = pytest.raises(SettingsRefused, match=r"belongs to user 0 .*; call this as that user")
        with told as refused, somebody_else(), changing(file) as clients:
            clients.append(Client("a", (ONE,)))
        assert str(refused.value).startswith("nothing was written")
        assert (list(Path(folder).iterdir()), file.read_text()) == ([file], file_of())


def test_what_would_not_be_readable_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with changing(file) as clients:
        clients.append(Client("a", (ONE,)))
    before = file.read_bytes()
    with pytest.raises(SettingsRefused, match=r"clients\[1\]\.name"), changing(file) as clients:
        clients.append(Client("b b", (OTHER,)))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), changing(tmp_path / "keys.json") as clients:
        clients.insert(1 // 0, Client("a", (ONE,)))
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file = tmp_path / "keys.json"
    file.symlink_to(tmp_path / "there" / "real.json")
    with changing(file) as clients:
        clients.append(Client("a", (ONE,)))
    assert file.is_symlink()
    assert read((tmp_path / "there" / "real.json").read_bytes()) == (Client("a", (ONE,)),)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"

    def write(number: int) -> None:
        with changing(file) as clients:
            clients.append(Client(f"client-{number}", (hash_of(str(number)),)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(24)))
    assert {client.name for client in read(content_of(file))} == {f"client-{number}" for number in range(24)}


@pytest.mark.parametrize("place", ["nowhere/keys.json", "file/keys.json", "."])
def test_where_no_file_can_be_written_it_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsRefused, match="cannot be written"), changing(tmp_path / place) as clients:
        clients.append(Client("a", (ONE,)))


def test_the_file_that_the_documents_show_can_be_used() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (client,) = read(shown)
    assert client == Client("frigate", client.keys, 50.0, 100, 8, ("shapes",))


def test_the_documents_name_every_field() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE.read_text().split("## The key file")[1], re.MULTILINE)
    assert named == [each.name for each in fields(Client)]
