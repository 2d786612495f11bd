"""`lookonce key`, as its user calls it; what it writes opens the gate that reads it."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.cli.command import LOOKONCE, PATIENCE_S, run, says_one_thing

from lookonce.access.keyring import Keyring
from lookonce.access.keys import Client, changing, clients_from_json, hash_of
from lookonce.errors import Unauthenticated


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def made(*words: object) -> str:
    """The key, which is all that stands on stdout."""
    done = run("key", *words)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (key,) = done.stdout.splitlines()
    assert key.startswith("lo_")
    assert key not in done.stderr
    return key


def unheard(_event: str, _facts: object) -> None: ...


def who(file: Path, key: str) -> str | None:
    try:
        return Keyring(file, unheard).caller(key).name
    except Unauthenticated:
        return None


def test_a_new_client_is_let_in_with_the_key_that_was_printed(file: Path) -> None:
    allowed = "--images-per-s", 50, "--burst", 100, "--concurrency", 8, "--model", "shapes", "--model", "cars"
    frigate, other = made("new", "frigate", "--file", file, *allowed), made("new", "other", "--file", file)
    assert (who(file, frigate), who(file, other)) == ("frigate", "other")
    assert clients_from_json(file.read_bytes(), file) == (
        Client("frigate", (hash_of(frigate),), 50.0, 100, 8, ("shapes", "cars")),
        Client("other", (hash_of(other),)),
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert frigate not in file.read_text()


def test_keys_are_rotated_two_at_a_time_and_revoked(file: Path) -> None:
    first = made("new", "frigate", "--file", file)
    other = made("new", "other", "--file", file)
    second = made("rotate", "frigate", "--file", file)
    assert [who(file, key) for key in (first, second)] == ["frigate", "frigate"]
    third = made("rotate", "frigate", "--file", file)
    assert [who(file, key) for key in (first, second, third)] == [None, "frigate", "frigate"]
    done = run("key", "revoke", "frigate", "--which", "newest", "--file", file)
    assert done.stdout == "The newest key of frigate has ended.\n"
    assert [who(file, key) for key in (second, third)] == ["frigate", None]
    fourth = made("rotate", "frigate", "--file", file)
    run("key", "revoke", "frigate", "--which", "oldest", "--file", file)
    assert [who(file, key) for key in (second, fourth)] == [None, "frigate"]
    done = run("key", "revoke", "frigate", "--file", file)
    assert done.stdout == "frigate has no key any more and may not ask.\n"
    assert [who(file, key) for key in (fourth, other)] == [None, "other"]


def test_the_list_shows_who_may_what_and_no_hash(file: Path) -> None:
    with changing(file) as clients:
        clients.append(Client("frigate", (hash_of("1"),), images_per_s=2.5, models=("shapes",)))
        clients.append(Client("other", (hash_of("2"), hash_of("3"))))
    done = run("key", "list", "--file", file)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [
        ["name", "keys", "images/s", "burst", "concurrency", "models"],
        ["frigate", "1", "2.5", "3", "any", "shapes"],
        ["other", "2", "any", "any", "any", "all"],
    ]


def test_an_empty_list_says_what_to_do(file: Path) -> None:
    file.write_text('{"clients": []}')
    done = run("key", "list", "--file", file)
    assert (done.returncode, done.stdout) == (0, "")
    assert "`lookonce key new` lets one in" in done.stderr


def test_the_gateway_s_own_variable_names_the_file(file: Path) -> None:
    words, variables = [LOOKONCE, "key", "new", "frigate"], os.environ | {"LOOKONCE_KEYS__FILE": str(file)}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert who(file, done.stdout.strip()) == "frigate"


REFUSED: tuple[tuple[tuple[object, ...], str], ...] = (
    (("new", "frigate"), "there is a client frigate already; `lookonce key rotate frigate` gives it a new key."),
    (("new", "two words"), "nothing was written; with this change the key file"),
    (("new", "two words"), "clients[1].name: "),
    (("new", "a", "--images-per-s", -1), "clients[1].images_per_s: "),
    (("new", "a", "--images-per-s", "inf"), "clients[1].images_per_s: "),
    (("new", "a", "--burst", 5), "gives a a burst without images_per_s"),
    (("rotate", "nobody"), "there is no client nobody in "),
    (("revoke", "nobody"), "which knows frigate; correct the name."),
)


@pytest.mark.parametrize(("words", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_is_refused_changes_nothing(file: Path, words: tuple[object, ...], told: str) -> None:
    with changing(file) as clients:
        clients.append(Client("frigate", (hash_of("lo_1"),)))
    before = file.read_bytes()
    said = says_one_thing(run("key", *words, "--file", file))
    assert told in said
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", ['{"clients": [', '{"clients": [{"name": "a", "keys": ["lo_secret"]}]}'])
def test_a_file_that_is_broken_is_left_for_its_owner_to_mend(file: Path, content: str) -> None:
    file.write_text(content)
    for words in (("new", "b"), ("list",)):
        said = says_one_thing(run("key", *words, "--file", file))
        assert said.startswith("settings-refused: the key file ")
        assert "lo_secret" not in said
    assert file.read_text() == content


def test_where_no_file_can_be_it_is_told(tmp_path: Path) -> None:
    assert "cannot be written" in says_one_thing(run("key", "new", "a", "--file", tmp_path / "nowhere" / "keys.json"))
    assert "cannot be read" in says_one_thing(run("key", "list", "--file", tmp_path / "keys.json"))
