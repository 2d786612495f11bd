"""`lookonce model verify`, as a command."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from tests.cli.command import run, says_one_thing
from tests.forge import sources


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one model, in FP32 as version 1 and in FP16 as version 2."""
    folder = tmp_path_factory.mktemp("verify")
    file, root = sources.write(sources.draw("yolov8"), folder / "m.onnx"), folder / "repository"
    for precision in ("fp32", "fp16"):
        said = run("model", "import", file, "--name", "m", "--precision", precision, "--accept", "--repository", root)
        assert said.returncode == 0, said.stderr
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for place in range(3):
        cv2.imwrite(str(tmp_path / f"{place}.png"), rng.integers(0, 256, (48, 80, 3), np.uint8))
    (tmp_path / "broken.jpg").write_text("no picture")
    return tmp_path


def test_a_full_precision_version_is_compared_with_its_source_alone(repository: Path) -> None:
    done = run("model", "verify", "m", "--version", 1, "--repository", repository)
    assert done.returncode == 0, done.stderr
    assert "0.01 px" in done.stdout
    assert "no lower precision" in done.stdout


def test_a_half_precision_version_is_told_drawn_and_judged(repository: Path, tmp_path: Path) -> None:
    picture = tmp_path / "seen.png"
    done = run("model", "verify", "m", "--version", 2, "--repository", repository, "--picture", picture)
    assert "FP16 against FP32" in done.stdout
    assert "emulated" in done.stderr
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    assert drawn.shape[1] > 1500


@pytest.mark.parametrize(
    ("name", "sentence"), [("absent/seen.png", "is no folder; make it first"), ("seen.svg", "let it end in .png")]
)
def test_a_picture_that_cannot_be_drawn_is_refused_before_the_work(
    repository: Path, tmp_path: Path, name: str, sentence: str
) -> None:
    done = run("model", "verify", "m", "--version", 2, "--repository", repository, "--picture", tmp_path / name)
    assert sentence in says_one_thing(done)


def test_the_figures_are_json_on_stdout(repository: Path, folder: Path) -> None:
    done = run("model", "verify", "m", "--version", 2, "--repository", repository, "--images", folder, "--json")
    figures = json.loads(done.stdout)
    assert figures["parity"]["pictures"] == figures["agreement"]["pictures"] == 3
    assert figures["parity"]["worst_box_px"] <= 0.01
    assert figures["agreement"]["emulated"]
    assert {"matched", "missing", "extra", "on_the_edge", "share"} <= set(figures["agreement"])


def test_unreadable_pictures_are_named(repository: Path, folder: Path) -> None:
    done = run("model", "verify", "m", "--version", 1, "--repository", repository, "--images", folder)
    assert done.returncode == 0
    assert "broken.jpg" in done.stderr


def test_the_published_graph_itself_is_held_to_its_source(repository: Path, tmp_path: Path) -> None:
    """Whoever changes it, its digest and its card alike is still found out."""
    spoilt = tmp_path / "repository"
    shutil.copytree(repository, spoilt)
    path = spoilt / "m" / "1" / "model.onnx"
    model = onnx.load(path)
    model.graph.node[-1].input[0] = "moved"
    shift = onnx.numpy_helper.from_array(np.array([3, 0, 0, 0, 0, 0], np.float32), "shift")
    model.graph.initializer.append(shift)
    joined = next(node for node in reversed(model.graph.node) if node.op_type == "Concat").output[0]
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Add", [joined, "shift"], ["moved"]))
    before = sha256(path.read_bytes()).hexdigest()
    path.write_bytes(model.SerializeToString())
    for file in (path.parent / "card.json", path.parent.parent / "config.pbtxt"):
        file.write_text(file.read_text().replace(before, sha256(path.read_bytes()).hexdigest()))
    done = run("model", "verify", "m", "--version", 1, "--repository", spoilt)
    assert "does not agree with the model it came from" in says_one_thing(done)


def test_the_source_is_published_as_it_came(repository: Path) -> None:
    assert (repository / "m" / "1" / "source.onnx").read_bytes() == (repository.parent / "m.onnx").read_bytes()


def test_a_comparison_of_nothing_is_told_as_such(tmp_path: Path) -> None:
    sketch = sources.Sketch(metadata={"names": "['a', 'b', 'c', 'd']"})
    silent = sketch.op("Mul", sketch.unit(84, 4), sketch.floats(0))
    rows = sketch.op("Concat", sketch.centres(84), silent, axis=-1)
    sketch.give(sketch.op("Transpose", rows, perm=[0, 2, 1]), "output0", 8, 84)
    file, root = sources.write(sketch.model(), tmp_path / "silent.onnx"), tmp_path / "repository"
    imported = run("model", "import", file, "--name", "silent", "--repository", root)
    assert imported.returncode == 0, imported.stderr
    assert "no row scored above 0 on 10 pictures" in imported.stderr
    assert "no row scored above 0 on 10 pictures" in run("model", "verify", "silent", "--repository", root).stderr
    assert "parity proves" in run("model", "show", "silent", "--repository", root).stdout


@pytest.mark.parametrize(("name", "change"), [("model.onnx", b"x"), ("source.onnx", b"x"), ("source.onnx", b"")])
def test_a_version_whose_files_changed_is_refused(repository: Path, tmp_path: Path, name: str, change: bytes) -> None:
    spoilt = tmp_path / "repository"
    for path in repository.rglob("*"):
        if path.is_file():
            copy = spoilt / path.relative_to(repository)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes() + change if path.name == name and change else path.read_bytes())
    if not change:
        (spoilt / "m" / "1" / name).unlink()
    done = run("model", "verify", "m", "--version", 1, "--repository", spoilt)
    assert name in says_one_thing(done)


def test_a_model_that_is_not_there_is_refused(repository: Path) -> None:
    assert "there is no model" in says_one_thing(run("model", "verify", "other", "--repository", repository))


def test_a_version_that_is_not_there_is_refused(repository: Path) -> None:
    assert "no version 9" in says_one_thing(run("model", "verify", "m", "--version", 9, "--repository", repository))


def test_a_folder_that_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    done = run("model", "verify", "m", "--version", 1, "--repository", repository, "--images", tmp_path / "none")
    assert "is no folder" in says_one_thing(done)
