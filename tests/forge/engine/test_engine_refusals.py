"""A build that cannot go well: one sentence, and nothing changed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookonce.card import Verdict
from lookonce.errors import EngineFailed, LookOnceError, ModelRefused, ParityBroken, UnknownModel, UnknownVersion
from lookonce.forge.engine import make_engine
from lookonce.forge.progress import unheard

Shop = Any
FilesUnder = Callable[[Path], dict[str, str]]


FAILURES = {
    "unsupported": r"exit code 1: ModelImporter.cpp:948: While parsing node number 3 .*no importer; its log is",
    "out of memory": r"OutOfMemory \(Requested size was 8589934592 bytes.\); its log is",
    "segfault": r"was killed by SIGSEGV: it gave no reason; its log is",
    "killed": r"was killed by SIGKILL, as the system does when memory runs out: ",
    "disk full": r"Saving engine to file failed; its log is",
    "missing": r"said that it succeeded and wrote no plan; its log is",
    "empty": r"said that it succeeded and wrote only 0 bytes of 0.01 MiB",
    "partial": r"said that it succeeded and wrote only \d+ bytes of 0.01 MiB",
    "foreign": r"cannot run the plan it built, .* Serialization \(magicTag mismatch\); its log is",
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("how", "said"), FAILURES.items())
def test_a_build_that_fails_says_why_in_one_sentence(shop: Shop, how: str, said: str) -> None:
    shop.trtexec_that(build=how)
    with pytest.raises(EngineFailed, match=said) as caught:
        make_engine(shop.order(), unheard)
    log = Path(str(caught.value).rpartition(" ")[2].rstrip("."))
    assert "TensorRT.trtexec" in log.read_text()


WRONG_ANSWERS = {
    "wrongly": r"^0\.\d% of the plan's detections agree .* or publish it so with `--accept`",
    "wrongly in batches": r"[1-9]\.\d% of the plan's detections agree",
    "nan": r"numbers that are missing or not finite",
    "shape": r"answers shape 1x63x6 instead of 1x64x6",
    "silently": r"wrote no tensor called candidates",
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("how", "said"), WRONG_ANSWERS.items())
def test_a_plan_that_answers_wrongly_is_not_published(shop: Shop, how: str, said: str) -> None:
    shop.trtexec_that(infer=how)
    with pytest.raises(ParityBroken, match=said):
        make_engine(shop.order(), unheard)


@pytest.mark.usefixtures("untouched")
def test_a_plan_that_crashes_when_run_is_not_published(shop: Shop) -> None:
    shop.trtexec_that(infer="crash")
    with pytest.raises(EngineFailed, match=r"cannot run the plan it built, .*an illegal memory access"):
        make_engine(shop.order(), unheard)


def test_a_disagreeing_plan_is_published_when_accepted_and_only_then(shop: Shop) -> None:
    shop.trtexec_that(infer="wrongly in batches")
    made = make_engine(shop.order(accept=True), unheard)
    assert made.engine.agreement.accepted
    assert made.engine.agreement.verdict is Verdict.DIFFERS
    with pytest.raises(ParityBroken, match="or publish it so with `--accept`"):
        make_engine(shop.order(), unheard)


@pytest.mark.usefixtures("untouched")
def test_no_detection_at_all_proves_nothing(shop: Shop, tmp_path: Path) -> None:
    dark = tmp_path / "dark"
    dark.mkdir()
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(dark / "night.png"), pytest.importorskip("numpy").zeros((64, 64, 3), "uint8"))
    with pytest.raises(ParityBroken, match=r"\(0 detections on 1 pictures\); give pictures of your own"):
        make_engine(shop.order(images=dark), unheard)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"name": "nobody"}, UnknownModel, "there is no model nobody"),
        ({"version": 7}, UnknownVersion, "has no version 7"),
        ({"best_batch": 21}, EngineFailed, "the best batch must be 1 to 20"),
        ({"trtexec": "no-such-trtexec"}, EngineFailed, "no-such-trtexec is not here"),
        ({"device": "4"}, EngineFailed, "No devices were found"),
        ({"images": Path("no-such-folder")}, ModelRefused, "no-such-folder is no folder"),
    ],
)
def test_an_order_that_cannot_be_met_is_refused(
    shop: Shop, changes: dict[str, Any], kind: type[LookOnceError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        make_engine(shop.order(**changes), unheard)


def test_pictures_that_are_not_there_are_missed_before_the_long_build(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelRefused, match="empty holds no picture that can be read"):
        make_engine(shop.order(images=tmp_path / "empty"), unheard)
    assert shop.calls("--onnx") == []


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("number", "version"), [("8601", "8.6.1.33")])
def test_an_old_tensorrt_is_refused(shop: Shop, number: str, version: str) -> None:
    shop.trtexec_that(version=number)
    with pytest.raises(EngineFailed, match=f"TensorRT {version} is too old; use TensorRT 10 or later"):
        make_engine(shop.order(), unheard)


@pytest.mark.usefixtures("untouched")
def test_a_program_that_is_not_trtexec_is_refused(shop: Shop) -> None:
    with pytest.raises(EngineFailed, match="does not answer `--help` as trtexec does, it ended with exit code 0"):
        make_engine(shop.order(trtexec=shutil.which("true")), unheard)


@pytest.mark.usefixtures("untouched")
def test_a_trtexec_without_its_libraries_is_quoted(shop: Shop) -> None:
    lost = shop.programs / "lost"
    lost.write_text("#!/bin/sh\necho 'trtexec: error while loading shared libraries: libnvinfer.so.11' >&2\nexit 127\n")
    lost.chmod(0o755)
    with pytest.raises(EngineFailed, match=r"exit code 127: trtexec: error while loading .*libnvinfer.so.11; its log"):
        make_engine(shop.order(trtexec=str(lost)), unheard)


@pytest.mark.usefixtures("untouched")
def test_a_graph_that_is_not_the_one_its_card_speaks_of_is_refused(shop: Shop, files_under: FilesUnder) -> None:
    onnx = shop.version / "model.onnx"
    whole = onnx.read_bytes()
    onnx.write_bytes(whole + b"\0")
    with pytest.raises(EngineFailed, match="is not the file its card speaks of"):
        make_engine(shop.order(), unheard)
    onnx.unlink()
    with pytest.raises(EngineFailed, match=r"model.onnx cannot be read: No such file"):
        make_engine(shop.order(), unheard)
    onnx.write_bytes(whole)


@pytest.mark.usefixtures("untouched")
def test_a_cache_that_cannot_be_used_is_named(shop: Shop) -> None:
    file = shop.root / "a file"
    file.write_text("")
    with pytest.raises(EngineFailed, match=r"a file.* cannot be used: .*another folder with `--cache`"):
        make_engine(shop.order(cache=file), unheard)


def test_gpus_that_differ_must_be_chosen_from(shop: Shop) -> None:
    shop.gpus("8.6, NVIDIA RTX A5000", "9.0, NVIDIA H200")
    with pytest.raises(EngineFailed, match=r"the GPUs here differ \(0: NVIDIA RTX A5000 \(8.6\), 1: NVIDIA H200"):
        make_engine(shop.order(), unheard)
    made = make_engine(shop.order(device="1"), unheard)
    assert (made.engine.compute_capability, made.engine.gpu) == ("9.0", "NVIDIA H200")
    assert {call["gpu"] for call in [*shop.calls("--onnx"), *shop.calls("--loadEngine")]} == {"1"}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "sees no GPU here"),
        (["[N/A], Orin"], "answered '\\[N/A\\], Orin' instead of a compute capability"),
        (["8.6"], "instead of a compute capability"),
    ],
)
def test_a_gpu_that_is_not_told_plainly_is_refused(shop: Shop, lines: list[str], said: str) -> None:
    shop.gpus(*lines)
    with pytest.raises(EngineFailed, match=said):
        make_engine(shop.order(), unheard)


@pytest.mark.usefixtures("untouched")
def test_a_driver_that_is_not_well_is_quoted(shop: Shop) -> None:
    (shop.root / "gpus.json").write_text('"broken"')
    with pytest.raises(EngineFailed, match="exit code 9 and said: NVIDIA-SMI has failed because"):
        make_engine(shop.order(), unheard)
