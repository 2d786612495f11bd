"""`lookonce detect`, with no server at all."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.cli.command import run, says_one_thing

from lookonce.cli.pictures import places_for, save_annotated
from lookonce.client import Detections
from lookonce.errors import DetectionFailed
from lookonce.vision.images import encode_png

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "shapes.jpg"
MODELS = ROOT / "model_repository" / "cpu"


def test_a_picture_is_looked_at_and_told_as_a_table() -> None:
    done = run("detect", PICTURE, "--repository", MODELS)
    assert done.returncode == 0, done.stderr
    assert "shapes.jpg: 12 objects in" in done.stdout
    assert "hexagon" in done.stdout


def test_json_is_one_line_a_picture_as_the_service_answers() -> None:
    done = run("detect", PICTURE, PICTURE, "--json", "--repository", MODELS, "--class", "cross", "--confidence", "0.8")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["detections"] == second["detections"]
    assert {found["label"] for found in first["detections"]} == {"cross"}
    assert first["image"] == {"width": 960, "height": 720}


def test_boxes_are_drawn_into_copies(tmp_path: Path) -> None:
    done = run("detect", PICTURE, "--repository", MODELS, "--save", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    drawn = cv2.imread(str(tmp_path / "drawn" / "shapes.detected.jpg"))
    assert drawn.shape == (720, 960, 3)
    assert (drawn != cv2.imread(str(PICTURE))).mean() > 0.02


def test_no_picture_is_lost_where_copies_meet_it_or_each_other(tmp_path: Path) -> None:
    names = "one.jpg", "one.detected.jpg", "deeper/one.jpg"
    (tmp_path / "deeper").mkdir()
    for name in names:
        shutil.copy(PICTURE, tmp_path / name)
    done = run("detect", *names, "--repository", MODELS, "--save", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    saved = ["one.detected-2.jpg", "one.detected.detected.jpg", "one.detected-3.jpg"]
    assert done.stderr.split() == saved
    assert {(tmp_path / name).read_bytes() for name in names} == {PICTURE.read_bytes()}
    assert PICTURE.read_bytes() not in [(tmp_path / name).read_bytes() for name in saved]


def test_a_copy_does_not_follow_a_link_to_a_picture(tmp_path: Path) -> None:
    (tmp_path / "one.detected.jpg").symlink_to(tmp_path / "one.png")
    assert places_for([tmp_path / "one.png"], tmp_path) == [tmp_path / "one.detected-2.jpg"]


def test_names_that_differ_in_capitals_alone_are_the_same_on_some_disks() -> None:
    places = places_for([Path("a/IMG.JPG"), Path("b/img.jpg")], Path("out"))
    assert places == [Path("out/IMG.detected.jpg"), Path("out/img.detected-2.jpg")]


def test_where_no_copy_can_be_it_is_told_before_anything_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, why in {tmp_path / "file": "File exists", tmp_path / "file" / "deeper": "Not a directory"}.items():
        done = run("detect", PICTURE, "--repository", MODELS, "--save", folder)
        assert done.returncode == 62
        assert f"the folder {folder} cannot be made ({why})" in says_one_thing(done)


def test_a_copy_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "shapes.detected.jpg").mkdir()
    done = run("detect", PICTURE, "--repository", MODELS, "--save", tmp_path)
    assert done.returncode == 62
    assert "shapes.detected.jpg cannot be written (Is a directory); name another --save." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_too_long_for_a_jpeg_is_told(tmp_path: Path) -> None:
    picture = encode_png(np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(DetectionFailed, match=r"long.detected.jpg cannot be a JPEG \(Maximum .* 65500"):
        save_annotated(picture, Detections((70_000, 1), (), 0.0, {}), tmp_path / "long.detected.jpg")


def test_who_serves_nobody_need_not_say_who_may_ask() -> None:
    done = run("detect", PICTURE, "--repository", MODELS, variables={"LOOKONCE_SERVER__HOST": "0.0.0.0"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--url", "127.0.0.1:8080"), "begins with neither http:// nor https://"),
        (("--url", "http://[::1"), "the service's address cannot be read"),
        (("--url", "http://127.0.0.1:9", "--key", "schlüssel"), "the key holds letters or spaces that no key has"),
    ],
)
def test_what_can_be_no_call_is_one_sentence(wrong: tuple[str, ...], words: str) -> None:
    done = run("detect", PICTURE, *wrong)
    assert done.returncode == 62
    assert words in says_one_thing(done)


def test_a_bad_picture_is_told_and_the_others_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("no picture")
    done = run("detect", tmp_path / "note.jpg", tmp_path / "absent.jpg", PICTURE, "--repository", MODELS)
    assert done.returncode == 62
    assert "the data looks like text" in done.stderr
    assert "No such file" in done.stderr
    assert "detection-failed: 2 of 3 pictures could not be looked at; see above." in done.stderr
    assert "12 objects" in done.stdout
    assert "Traceback" not in done.stderr


def test_what_cannot_be_asked_is_told() -> None:
    for wrong, words in {
        ("--model", "street"): "there is no model street",
        ("--class", "horse"): "has no class horse",
        ("--confidence", "7"): "confidence: 7.0 is not a number from 0 to 1",
        ("--url", "http://127.0.0.1:9"): "no answer from http://127.0.0.1:9",
    }.items():
        done = run("detect", PICTURE, "--repository", MODELS, *wrong)
        assert done.returncode == 62, wrong
        assert words in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.stderr


def test_a_folder_without_models_is_one_sentence(tmp_path: Path) -> None:
    done = run("detect", PICTURE, "--repository", tmp_path)
    assert "holds no model; publish one with `lookonce model import`." in says_one_thing(done)
