"""`lookonce model list`, `show`, `activate`, `sign` and `check-signature`, as commands."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.command import files_below, run, says_one_thing

from lookonce.card import Agreement, Card, Parity, Precision, Target, Verdict, card_from_json
from lookonce.forge.repository import publish
from lookonce.forge.staging import staging

PARITY = Parity(pictures=8, worst_box_px=0.00012, worst_score=1e-7)
AGREES = Agreement(Verdict.AGREES, 0.9962, 1234, 48, 0.1, 0.4, emulated=True)


@pytest.fixture
def repository(tmp_path: Path, card_of: Callable[..., Card]) -> Path:
    """`shapes` with two versions, the first served, and a folder that is not ours."""
    root = tmp_path / "models"
    first = card_of("shapes", labels=("[/bold]", "ring"), parity=PARITY)
    second = replace(first, version=2, precision=Precision.FP16, agreement=AGREES, served_sha256="2" * 64)
    for card in (first, second):
        with staging(root, card.name) as folder:
            (folder / "model.onnx").write_bytes(b"a graph")
            publish(root, card, folder)
    (root / "notes").mkdir()
    return root


def test_list_shows_every_version_and_says_what_is_not_ours(repository: Path) -> None:
    done = run("model", "list", "--repository", repository)
    assert done.returncode == 0
    heading, first, second = done.stdout.splitlines()
    assert heading.split() == ["name", "version", "served", "layout", "size", "precision", "checked", "digest"]
    assert first.split()[:6] == ["shapes", "1", "default", "live-test", "32x32", "fp32"]
    assert "within 0.0001 px" in first
    assert second.split()[:6] == ["shapes", "2", "no", "live-test", "32x32", "fp16"]
    assert "99.6% agrees, emulated" in second
    assert second.split()[-1] == "22222222"
    assert done.stderr.startswith("repository-refused: ")
    assert "notes was not made by `lookonce model import`" in done.stderr


def test_list_of_nothing_says_how_to_begin(tmp_path: Path) -> None:
    done = run("model", "list", "--repository", tmp_path / "none")
    assert (done.returncode, done.stdout) == (0, "")
    assert "`lookonce model import` puts one there" in done.stderr


def test_show_tells_the_default_version_and_json_is_the_card(repository: Path) -> None:
    told = run("model", "show", "shapes", "--repository", repository).stdout
    assert "shapes version 1" in told
    assert "2: [/bold], ring" in told
    assert "within 0.0001 px" in told
    done = run("model", "show", "shapes", "--version", 2, "--json", "--repository", repository)
    assert card_from_json(done.stdout, "the command").agreement == AGREES
    assert json.loads(done.stdout)["version"] == 2


def test_activate_changes_the_default_and_tells_the_way_back(repository: Path, tmp_path: Path) -> None:
    done = run("model", "activate", "shapes", 2, "--alongside", 1, "--repository", repository, cwd=tmp_path)
    assert done.returncode == 0
    assert "shapes serves version 2 by default, and 1 when asked for. No local Triton runs" in done.stdout
    assert f"To go back: lookonce model activate shapes 1 --repository {repository}" in done.stderr
    listed = run("model", "list", "--repository", repository).stdout.splitlines()
    assert [line.split()[2] for line in listed[1:]] == ["alongside", "default"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", "shape"], 23, "unknown-model: there is no model shape in .*, which holds notes, shapes"),
        (["show", "shapes", "--version", "9"], 23, "unknown-version: shapes has no version 9 .* it has 1, 2"),
        (["show", "notes"], 20, "repository-refused: .*notes was not made by"),
        (["show", "[/x]"], 20, r"repository-refused: '\[/x\]' cannot name a model"),
        (["activate", "shapes", "9"], 23, "unknown-version: shapes has no version 9"),
        (["activate", "shapes", "1", "--alongside", "9"], 23, "unknown-version"),
        (["sign", "shapes", "--key", "absent.pem"], 43, "wrong-key: the key absent.pem cannot be read"),
    ],
)
def test_a_refusal_is_one_sentence_and_changes_nothing(
    repository: Path, tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    before = files_below(repository)
    done = run("model", *words, "--repository", repository, cwd=tmp_path)
    assert done.returncode == code
    assert re.match(told, says_one_thing(done))
    assert before == files_below(repository)


def test_signing_and_each_answer_of_the_check(repository: Path, tmp_path: Path) -> None:
    version = repository / "shapes" / "1"
    whole = (version / "model.onnx").read_bytes()

    def check(key: str = "release.pem.pub") -> tuple[int, str]:
        done = run("model", "check-signature", "shapes", "--key", key, "--repository", repository, cwd=tmp_path)
        return done.returncode, done.stderr.split(":")[0]

    def sign(key: str, *more: object) -> str:
        words = "model", "sign", "shapes", "--key", key, "--new-key", "--repository", repository, *more
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sign("other.pem", "--version", 2)
    assert check("other.pem.pub") == (40, "not-signed")
    assert "Keep release.pem secret; give release.pem.pub to those who check." in sign("release.pem")
    assert check() == (0, "")
    assert check("other.pem.pub") == (43, "wrong-key")
    (version / "model.onnx").write_bytes(b"A graph")
    assert check() == (41, "file-changed")
    (version / "model.onnx").unlink()
    assert check() == (42, "file-missing")
    (version / "model.onnx").write_bytes(whole)
    (version / "more").write_bytes(b"")
    assert check() == (44, "file-unsigned")
    (version / "more").unlink()
    config = repository / "shapes" / "config.pbtxt"
    config.write_text(config.read_text().replace('"model.py"', '"../x/evil.py"'))
    assert check() == (41, "file-changed")


def test_a_version_for_tensorrt_is_not_activated_before_its_plan_is_built(
    repository: Path, card_of: Callable[..., Card], tmp_path: Path
) -> None:
    card = card_of("fast", target=Target.TENSORRT)
    with staging(repository, card.name) as folder:
        publish(repository, card, folder)
    done = run("model", "activate", "fast", 1, "--repository", repository, cwd=tmp_path)
    assert done.returncode == 20
    assert "build it with `lookonce model engine fast`" in says_one_thing(done)
