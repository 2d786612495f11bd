"""`lookonce detect`, with no server at all."""

import json
from pathlib import Path

import cv2
from tests.cli.command import run, says_one_thing

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
    drawn = cv2.imread(str(tmp_path / "drawn" / "shapes.jpg"))
    assert drawn.shape == (720, 960, 3)
    assert (drawn != cv2.imread(str(PICTURE))).mean() > 0.02


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
