"""`lookonce model import` and `inspect`, as commands."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.cli.command import files_below, run, says_one_thing, started
from tests.forge import sources


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one model in it."""
    root = tmp_path / "repository"
    file = sources.write(sources.draw("yolov8"), tmp_path / "first.onnx")
    assert run("model", "import", file, "--name", "first", "--repository", root).returncode == 0
    return root


def single(kind: str, *shape: int) -> onnx.ModelProto:
    """A model whose only output has that shape."""
    sketch = sources.Sketch(metadata={"names": str(dict(enumerate("abcd")))})
    sketch.give(sketch.made(*shape), kind, *shape)
    return sketch.model()


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def corrupt(path: Path) -> None:
    sources.write(sources.draw("yolov8"), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def classifier(path: Path) -> None:
    sources.write(single("probabilities", 1000), path)


def segmentation(path: Path) -> None:
    sketch = sources.Sketch()
    sources.DRAWN["yolov8"](sketch)
    sketch.give(sketch.made(32, 16, 16), "output1", 32, 16, 16)
    sources.write(sketch.model(), path)


def flat_end_to_end(path: Path) -> None:
    sketch = sources.Sketch()
    rows = sketch.op("Reshape", sketch.made(30, 7), sketch.const(np.array([-1, 7])))
    sketch.op("Identity", rows, out="output")
    sketch.outputs.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", 7]))
    sources.write(sketch.model(), path)


def without_its_weights(path: Path) -> None:
    model = sources.draw("yolov8")
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def stuck_batch(path: Path) -> None:
    """Only the first picture goes on; what a second would be is nowhere said."""
    sketch = sources.Sketch(metadata={"names": str(dict(enumerate("abcd")))})
    sources.DRAWN["yolov8"](sketch)
    first = sketch.op("Compress", sketch.outputs.pop().name, sketch.const(np.array([True])), axis=0)
    sketch.give(sketch.op("Identity", first), "output", 8, 84)
    sources.write(sketch.model(), path)


def plain(path: Path) -> None:
    sources.write(sources.draw("yolov8"), path)


REFUSED: list[tuple[Callable[[Path], None], list[str], str, int]] = [
    (zero_bytes, [], "is empty (0 bytes); export or copy it again", 10),
    (corrupt, [], "is not an ONNX model or is cut short", 10),
    (without_its_weights, [], "weights.bin, which is missing; put it beside the model", 10),
    (classifier, [], "looks like a classifier", 11),
    (segmentation, [], "looks like a segmentation model", 11),
    (flat_end_to_end, [], "so Triton cannot batch it; export it without", 11),
    (stuck_batch, [], "export it with a dynamic batch, or import it with --max-batch 1", 12),
    (plain, ["--labels", "LABELS"], "has 4 classes and 3 labels were given", 12),
    (plain, ["--name", "a/b"], "cannot name a model", 20),
    (plain, ["--name", "a.b"], "cannot name a model", 20),
    (plain, ["--name", ".."], "cannot name a model", 20),
    (plain, ["--name", ""], "cannot name a model", 20),
    (plain, ["--layout", "yolov9000"], "there is no layout yolov9000", 11),
    (plain, ["--layout", "yolov5"], "cannot be yolov5", 11),
    (plain, ["--size", "320x320"], "was exported for 64x64, not 320x320", 12),
    (plain, ["--size", "big"], "write width x height", 12),
    (plain, ["--max-batch", "0"], "choose 1 to 1024", 12),
    (plain, ["--candidates", "0"], "choose 1 to 3840", 12),
    (plain, ["--candidates", "3841"], "choose 1 to 3840", 12),
    (plain, ["--version", "0"], "versions are 1, 2, 3", 12),
    (plain, ["--version", "9" * 20], "versions are 1, 2, 3", 12),
    (plain, ["--std", "255,0,255"], "a number of 0 or less", 12),
    (plain, ["--precision", "int8"], "give a folder of them with --calibration", 12),
    (plain, ["--images", "EMPTY"], "holds no picture that can be read", 12),
    (plain, ["--name", "first", "--version", "1"], "never overwritten", 21),
    (plain, ["--name", "first", "--max-batch", "4"], "import it under another name", 22),
]


@pytest.mark.parametrize(("make", "options", "sentence", "code"), REFUSED)
def test_what_cannot_be_imported_is_refused_in_one_sentence(
    repository: Path, tmp_path: Path, make: Callable[[Path], None], options: list[str], sentence: str, code: int
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    (tmp_path / "empty").mkdir()
    make(tmp_path / "model.onnx")
    before = files_below(repository)
    places = {"LABELS": tmp_path / "labels.txt", "EMPTY": tmp_path / "empty"}
    said = [places.get(option, option) for option in options]
    name = [] if "--name" in options else ["--name", "second"]
    done = run("model", "import", tmp_path / "model.onnx", *name, *said, "--repository", repository)
    assert sentence in says_one_thing(done)
    assert done.returncode == code
    assert files_below(repository) == before
    assert sorted(path.name for path in repository.iterdir()) == ["first"]


def test_a_stuck_batch_is_taken_one_picture_at_a_time(tmp_path: Path) -> None:
    stuck_batch(tmp_path / "model.onnx")
    done = run("model", "import", tmp_path / "model.onnx", "--name", "one", "--max-batch", 1, "--repository", tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_first_import_is_served_and_the_second_waits(repository: Path, tmp_path: Path) -> None:
    done = run("model", "import", tmp_path / "first.onnx", "--name", "first", "--repository", repository)
    assert done.returncode == 0, done.stderr
    listed = run("model", "list", "--repository", repository).stdout
    assert [line.split()[:3] for line in listed.splitlines()[1:3]] == [["first", "1", "default"], ["first", "2", "no"]]


def test_the_card_tells_where_the_model_came_from(repository: Path) -> None:
    card: dict[str, Any] = json.loads(run("model", "show", "first", "--json", "--repository", repository).stdout)
    assert card["labels"] == ["a", "b", "c", "d"]
    assert card["layout"] == "yolov8"
    assert card["parity"]["worst_box_px"] <= 0.01
    folder = repository / "first" / "1"
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.onnx", "model.py", "source.onnx"]


def test_half_precision_says_how_far_it_agrees(tmp_path: Path) -> None:
    file = sources.write(sources.draw("yolov8"), tmp_path / "model.onnx")
    root = tmp_path / "repository"
    options = ["--name", "half", "--precision", "fp16", "--repository", root, "--accept"]
    assert run("model", "import", file, *options).returncode == 0
    card = json.loads((root / "half" / "1" / "card.json").read_text())
    assert card["agreement"]["detections"] >= 200
    assert card["agreement"]["share"] >= 0.98
    assert card["agreement"]["emulated"]


def test_inspect_names_the_choices_and_the_flag_that_decides(tmp_path: Path) -> None:
    file = sources.write(sources.draw("end2end", metadata={"end2end": ""}), tmp_path / "model.onnx")
    done = run("model", "inspect", file)
    assert done.returncode == 0
    assert "Not decided" in done.stdout
    assert "--layout end2end" in done.stdout
    assert "--layout rtdetr-ultralytics" in done.stdout


def test_inspect_says_what_it_takes_a_model_for_and_why(tmp_path: Path) -> None:
    file = sources.write(sources.draw("yolov6"), tmp_path / "model.onnx")
    done = run("model", "inspect", file)
    assert "its objectness is 1 everywhere" in done.stdout
    assert "RGB, divided by 255, letterbox" in done.stdout


def test_of_two_imports_at_once_one_wins(tmp_path: Path) -> None:
    file = sources.write(sources.draw("yolov8"), tmp_path / "model.onnx")
    order = ["model", "import", file, "--name", "same", "--version", 1, "--repository", tmp_path / "repository"]
    with started(*order) as first, started(*order) as second:
        ends = [process.communicate(timeout=60) for process in (first, second)]
        codes = [process.returncode for process in (first, second)]
    assert min(codes) == 0
    assert max(codes) in (20, 21)
    loser = ends[codes.index(max(codes))][1]
    assert "under way" in loser or "never overwritten" in loser
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["same"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small tmpfs can only be mounted by root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_leaves_nothing_behind(small_disk: Path, tmp_path: Path) -> None:
    file = sources.write(sources.draw("yolov5"), tmp_path / "model.onnx")
    root = small_disk / "repository"
    done = run("model", "import", file, "--name", "big", "--repository", root)
    assert "is full; free some space" in says_one_thing(done)
    assert not root.exists() or not list(root.iterdir())
    assert shutil.disk_usage(small_disk).used == 0


def test_an_interrupted_import_leaves_nothing_behind(tmp_path: Path) -> None:
    file = sources.write(sources.draw("yolov8"), tmp_path / "model.onnx")
    root = tmp_path / "repository"
    with started("model", "import", file, "--name", "cut", "--precision", "fp16", "--repository", root) as process:
        while not (tmp_path / ".repository.staging").exists() and process.poll() is None:
            pass
        process.send_signal(2)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode not in (0, 1)
    assert "Traceback" not in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]
