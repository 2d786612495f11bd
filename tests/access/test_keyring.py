"""Who is let in by a key file, also while it changes."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lookonce.access.keyring import WHO_ASKS, Keyring
from lookonce.access.keys import hash_of
from lookonce.errors import Forbidden, RateLimited, SettingsRefused, Unauthenticated

A, B, C = ("lo_" + word * 10 + "xyz" for word in ("Abc1", "dEf2", "Gh-_"))


@dataclass
class Diary:
    """Notes what it is told."""

    pages: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    written: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: str, facts: Mapping[str, object]) -> None:
        self.pages.append((event, facts))
        self.written.set()

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.pages]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def diary() -> Diary:
    return Diary()


def write(file: Path, *clients: Mapping[str, object]) -> None:
    hashed = [dict(client) | {"keys": [hash_of(key) for key in client["keys"]]} for client in clients]
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({"clients": hashed}))
    draft.chmod(0o600)
    draft.replace(file)


def client(name: str, *keys: str, **allowance: object) -> dict[str, object]:
    return {"name": name, "keys": keys, **allowance}


def test_each_of_two_keys_is_the_same_client(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A, B), client("other", C))
    keyring = Keyring(file, diary)
    assert [keyring.caller(key).name for key in (A, B, C)] == ["frigate", "frigate", "other"]
    assert diary.pages == []


@pytest.mark.parametrize(
    "key", [None, "", "lo_", A[:-1], A + "=", A.swapcase(), " " + A, hash_of(A), "ÿ\udcff", "\0"], ids=ascii
)
def test_no_key_a_wrong_one_and_nonsense_are_told_the_same(file: Path, diary: Diary, key: str | None) -> None:
    write(file, client("frigate", A))
    with pytest.raises(Unauthenticated) as refused:
        Keyring(file, diary).caller(key)
    assert str(refused.value) == WHO_ASKS


@pytest.mark.parametrize("key", [None, ""])
def test_the_hash_of_nothing_lets_nobody_in_without_a_key(file: Path, diary: Diary, key: str | None) -> None:
    write(file, client("careless", ""))
    with pytest.raises(Unauthenticated):
        Keyring(file, diary).caller(key)


def test_where_nobody_is_known_nobody_is_let_in(file: Path, diary: Diary) -> None:
    write(file)
    with pytest.raises(Unauthenticated):
        Keyring(file, diary).caller(A)


def test_neither_keys_nor_hashes_are_shown(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    shown = repr(keyring) + repr(keyring.caller(A)) + repr(vars(keyring)["_holders"])
    assert hash_of(A).removeprefix("sha256:") not in shown
    assert A not in shown


def test_a_client_uses_the_models_it_may(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A, models=["shapes", "people"]), client("other", B))
    keyring = Keyring(file, diary)
    keyring.caller(A).refuse_model("shapes")
    keyring.caller(B).refuse_model("anything")
    with pytest.raises(Forbidden, match=r"may not use model cars; it may use shapes, people\."):
        keyring.caller(A).refuse_model("cars")


def test_both_keys_of_a_client_share_what_it_may_have(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A, B, images_per_s=1, burst=4, concurrency=1), client("other", C))
    keyring = Keyring(file, diary, Clock())
    keyring.caller(A).count(3)
    with pytest.raises(RateLimited) as refused:
        keyring.caller(B).count(2)
    assert refused.value.retry_after_s == pytest.approx(1)
    keyring.caller(C).count(1000)
    with keyring.caller(A).turn(), keyring.caller(C).turn(), pytest.raises(RateLimited), keyring.caller(B).turn():
        pytest.fail("it was let in")


async def test_a_changed_file_is_taken_up(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    write(file, client("frigate", B), client("other", C))
    await keyring.refresh()
    assert (keyring.caller(B).name, keyring.caller(C).name) == ("frigate", "other")
    with pytest.raises(Unauthenticated):
        keyring.caller(A)
    assert diary.pages == [("keys read", {"file": str(file), "clients": ["frigate", "other"]})]


async def test_an_unchanged_file_is_not_spoken_of(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    for _ in range(3):
        write(file, client("frigate", A))
        await keyring.refresh()
    assert diary.pages == []


async def test_who_stays_keeps_the_bucket_and_the_open_turns(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A, images_per_s=1, burst=4, concurrency=1))
    keyring = Keyring(file, diary, Clock())
    keyring.caller(A).count(4)
    with keyring.caller(A).turn():
        write(file, client("frigate", A, B, images_per_s=1, burst=5, concurrency=1))
        await keyring.refresh()
        with pytest.raises(RateLimited), keyring.caller(B).turn():
            pytest.fail("it was let in")
    keyring.caller(B).count(1)
    with pytest.raises(RateLimited):
        keyring.caller(B).count(1)


async def test_a_key_that_ends_ends_the_stream_it_opened_and_no_other(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A, B), client("other", C))
    keyring = Keyring(file, diary)
    old, new, gone = map(keyring.caller, (A, B, C))
    write(file, client("frigate", B))
    await keyring.refresh()
    new.count(1)
    for caller in (old, gone):
        with pytest.raises(Unauthenticated):
            caller.count(1)


async def test_open_streams_learn_which_models_they_may_use_now(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    caller = keyring.caller(A)
    caller.refuse_model("cars")
    write(file, client("frigate", A, models=["shapes"]))
    await keyring.refresh()
    with pytest.raises(Forbidden):
        caller.refuse_model("cars")


async def test_links_that_are_swapped_as_kubernetes_does_are_seen(tmp_path: Path, diary: Diary) -> None:
    for name, key in (("..1", A), ("..2", B)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "keys.json", client("frigate", key))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    keyring = Keyring(tmp_path / "keys.json", diary)
    keyring.caller(A)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    await keyring.refresh()
    keyring.caller(B)
    with pytest.raises(Unauthenticated):
        keyring.caller(A)


def clear(file: Path) -> None:
    if file.is_dir():
        file.rmdir()


def truncate(file: Path) -> None:
    file.write_text('{"clients": [')


def remove(file: Path) -> None:
    file.unlink()


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [truncate, remove, make_folder])
async def test_a_file_that_breaks_leaves_the_keys_and_is_told_once(
    file: Path, diary: Diary, harm: Callable[[Path], None]
) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    harm(file)
    for _ in range(3):
        await keyring.refresh()
    assert keyring.caller(A).name == "frigate"
    assert diary.events == ["keys not read"]
    clear(file)
    write(file, client("frigate", B))
    await keyring.refresh()
    keyring.caller(B)
    assert diary.events == ["keys not read", "keys read"]
    truncate(file)
    await keyring.refresh()
    assert diary.events == ["keys not read", "keys read", "keys not read"]


async def test_a_file_that_comes_back_as_it_was_may_break_again_and_is_told_again(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    for _ in range(2):
        truncate(file)
        await keyring.refresh()
        write(file, client("frigate", A))
        await keyring.refresh()
    assert diary.events == ["keys not read", "keys not read"]


def test_without_a_readable_file_nothing_begins(file: Path, diary: Diary) -> None:
    with pytest.raises(SettingsRefused, match="cannot be read"):
        Keyring(file, diary)
    truncate(file)
    with pytest.raises(SettingsRefused, match="line 1 column 13"):
        Keyring(file, diary)


def test_a_file_that_all_may_read_is_warned_of_once(file: Path, diary: Diary) -> None:
    write(file, client("frigate", A))
    file.chmod(0o644)
    keyring = Keyring(file, diary)
    assert diary.pages == [("keys readable by all", {"file": str(file), "mend": "chmod o-r"})]
    asyncio.run(keyring.refresh())
    assert len(diary.pages) == 1


async def test_the_file_is_watched_until_it_is_cancelled(
    file: Path, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, client("frigate", A))
    keyring = Keyring(file, diary)
    with caplog.at_level(logging.DEBUG):
        watching = asyncio.create_task(keyring.keep(0.01))
        write(file, client("frigate", B))
        async with asyncio.timeout(20):
            await diary.written.wait()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
    assert keyring.caller(B).name == "frigate"
    assert hash_of(B).removeprefix("sha256:") not in caplog.text + repr(diary.pages)
