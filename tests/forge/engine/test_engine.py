"""Building a plan: what is published, what is refused, and that nothing is half-written."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lookonce.card import Target, Verdict, card_from_json
from lookonce.errors import EngineFailed, ModelRefused
from lookonce.forge.config import config_from_text
from lookonce.forge.engine import make_engine, rehearse, timing_cache
from lookonce.forge.gpu import Gpu
from lookonce.forge.progress import unheard
from lookonce.forge.repository import publish, published
from lookonce.forge.staging import staging

Shop = Any
FilesUnder = Callable[[Path], dict[str, str]]


def test_a_plan_is_built_tried_and_published_with_its_card(shop: Shop) -> None:
    steps = list[tuple[str, int, int]]()
    made = make_engine(shop.order(), lambda *step: steps.append(step))
    assert made.plan.read_bytes().startswith(b"ftrt")
    card = published(shop.repository, "cells").card(1)
    assert card == card_from_json((shop.version / "card.json").read_bytes(), "the file") == made.card
    assert card.engine is not None
    assert (card.engine.tensorrt_version, card.engine.compute_capability) == ("10.11.0.33", "8.6")
    assert (card.engine.gpu, card.engine.best_batch) == ("NVIDIA RTX A5000", 16)
    assert card.engine.agreement.verdict is Verdict.AGREES
    assert card.engine.agreement.share == 1.0
    assert not card.engine.agreement.accepted
    assert ("building the plan", 5, 5) in steps
    assert ("trying the plan on pictures", 21, 21) in steps


def test_both_ends_of_the_profile_are_tried_however_few_the_pictures(shop: Shop, tmp_path: Path) -> None:
    made = make_engine(shop.order(images=_few(shop.images, tmp_path)), unheard)
    assert (made.engine.agreement.pictures, made.engine.agreement.share) == (4, 1.0)
    shapes = [next(a for a in call["arguments"] if a.startswith("--shapes")) for call in shop.calls("--loadEngine")]
    assert shapes == ["--shapes=images:1x64x64x3", "--shapes=images:20x64x64x3"]


def test_a_graph_of_one_fixed_picture_is_built_without_shapes(shop: Shop, tmp_path: Path) -> None:
    made = make_engine(shop.order(name="single", images=_few(shop.images, tmp_path)), unheard)
    assert made.engine.best_batch == 1
    assert shop.calls("--shapes") == shop.calls("--minShapes") == []
    config = config_from_text((shop.repository / "single" / "config.pbtxt").read_text(), "the config")
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 64, 64, 3]
    assert list(config.output[0].dims) == [1, 64, 6]


def _few(images: Path, folder: Path) -> Path:
    few = folder / "few"
    few.mkdir()
    for picture in sorted(images.iterdir())[:4]:
        shutil.copyfile(picture, few / picture.name)
    return few


def test_a_plan_in_the_cache_is_not_built_again(shop: Shop, files_under: FilesUnder) -> None:
    first = make_engine(shop.order(), unheard)
    asked = len(shop.calls())
    (shop.version / "model.plan").unlink()
    second = make_engine(shop.order(), unheard)
    assert second.was_cached
    assert not first.was_cached
    assert [call["arguments"] for call in shop.calls()[asked:]] == [["--help"]]
    assert second.card == first.card


def test_a_plan_in_the_cache_that_was_changed_is_built_again(shop: Shop) -> None:
    make_engine(shop.order(), unheard)
    plan = next(shop.cache.glob("*.plan"))
    plan.unlink()
    plan.write_bytes(b"ftrt and something else")
    assert not make_engine(shop.order(), unheard).was_cached
    assert len(shop.calls("--onnx")) == 2


@pytest.mark.parametrize("broken", ["{", "{}"])
def test_facts_that_cannot_be_read_are_no_facts(shop: Shop, broken: str) -> None:
    make_engine(shop.order(), unheard)
    next(shop.cache.glob("*.json")).write_text(broken)
    assert not make_engine(shop.order(), unheard).was_cached


def test_another_tensorrt_is_another_plan_and_replaces_the_first(shop: Shop) -> None:
    make_engine(shop.order(), unheard)
    shop.trtexec_that(version="110100")
    made = make_engine(shop.order(), unheard)
    assert made.engine.tensorrt_version == "11.1.0.33"
    assert len(list(shop.cache.glob("*.plan"))) == 2


def test_a_version_for_another_target_is_refused(shop: Shop) -> None:
    card = replace(published(shop.repository, "cells").card(1), name="slow", target=Target.PYTHON)
    with staging(shop.repository, "slow") as folder:
        publish(shop.repository, card, folder)
    with pytest.raises(ModelRefused, match="version 1 of slow is for the python target"):
        make_engine(shop.order(name="slow"), unheard)


def test_a_cache_on_another_disk_is_copied_from(shop: Shop) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert Path(elsewhere).stat().st_dev != shop.repository.stat().st_dev, "this test wants two file systems"
        made = make_engine(shop.order(cache=Path(elsewhere)), unheard)
        kept = next(Path(elsewhere).glob("*.plan"))
        assert kept.read_bytes() == made.plan.read_bytes()
        assert kept.stat().st_nlink == made.plan.stat().st_nlink == 1


def test_a_repository_may_be_named_from_where_one_stands(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    made = make_engine(shop.order(repository=Path("gpu"), cache=Path("cache"), trtexec="programs/trtexec"), unheard)
    assert (shop.root / made.plan).exists()


def test_the_newest_version_is_built_unless_one_is_named(shop: Shop) -> None:
    card = replace(published(shop.repository, "cells").card(1), version=2)
    with staging(shop.repository, "cells") as folder:
        shutil.copyfile(shop.version / "model.onnx", folder / "model.onnx")
        publish(shop.repository, card, folder)
    assert make_engine(shop.order(), unheard).card.version == 2
    first = make_engine(shop.order(version=1), unheard)
    assert (first.card.version, first.was_cached) == (1, True)
    assert {version for version, card in published(shop.repository, "cells").cards.items() if card.engine} == {1, 2}


def test_timings_of_one_gpu_or_version_are_never_taken_for_another(tmp_path: Path) -> None:
    gpus = Gpu("8.6", "NVIDIA RTX A5000"), Gpu("8.6", "NVIDIA A40"), Gpu("9.0", "NVIDIA H200"), None
    names = {timing_cache(tmp_path, version, gpu) for version in ("10.11.0", "11.1.0") for gpu in gpus}
    assert len(names) == 8
    assert timing_cache(tmp_path, "10.11.0.33", gpus[0]).name == "timing-10.11.0.33-8.6-NVIDIA-RTX-A5000.cache"


def test_what_a_killed_builder_left_is_swept_away(shop: Shop) -> None:
    (shop.cache / ".building-dead").mkdir(parents=True)
    make_engine(shop.order(), unheard)
    assert [name for name in shop.kept() if name.startswith(".")] == []


def test_a_dry_run_asks_trtexec_which_it_is_and_builds_nothing(shop: Shop, files_under: FilesUnder) -> None:
    before = files_under(shop.repository)
    shop.trtexec_that(version="110100")
    run = shop.lookonce("--dry-run", "--opt-batch", "4", "--workspace", "2048")
    assert run.returncode == 0, run.stderr
    program, *options = shlex.split(run.stdout)
    assert program == str(shop.programs / "trtexec")
    assert options == [
        f"--onnx={shop.version}/model.onnx",
        f"--saveEngine={shop.version}/model.plan",
        "--minShapes=images:1x64x64x3",
        "--optShapes=images:4x64x64x3",
        "--maxShapes=images:20x64x64x3",
        "--memPoolSize=workspace:2048",
        f"--timingCacheFile={shop.cache}/timing-11.1.0.33-8.6-NVIDIA-RTX-A5000.cache",
        "--skipInference",
    ]
    assert [call["arguments"] for call in shop.calls()] == [["--help"]]
    assert files_under(shop.repository) == before
    assert not shop.cache.exists()


@pytest.mark.parametrize(
    ("version", "typing"), [("10", ["--stronglyTyped"]), ("11.1", []), (None, ["--stronglyTyped"])]
)
def test_a_dry_run_needs_neither_trtexec_nor_gpu(shop: Shop, version: str | None, typing: list[str]) -> None:
    command = rehearse(shop.order(trtexec="not-here/trtexec", device="GPU-5a"), version).command
    assert command[:4] == ["env", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=GPU-5a", "not-here/trtexec"]
    assert [option for option in command if option == "--stronglyTyped"] == typing
    assert shop.calls() == []


@pytest.mark.parametrize("version", ["eleven", "", "9.3", "10."])
def test_a_dry_run_for_no_such_tensorrt_is_refused(shop: Shop, version: str) -> None:
    with pytest.raises(EngineFailed, match=r"is no TensorRT version|is too old"):
        rehearse(shop.order(), version)


def test_the_command_that_was_printed_builds_the_same_plan(shop: Shop) -> None:
    made = make_engine(shop.order(), unheard)
    built = made.plan.read_bytes()
    made.plan.unlink()
    subprocess.run(shlex.split(shop.lookonce("--dry-run").stdout), check=True, capture_output=True)
    assert made.plan.read_bytes() == built


def test_the_stand_in_refuses_what_tensorrt_11_refuses(shop: Shop) -> None:
    trtexec = str(shop.programs / "trtexec")
    for version, code in (("101100", 0), ("110100", 1)):
        shop.trtexec_that(version=version)
        command = [trtexec, f"--onnx={shop.version}/model.onnx", f"--saveEngine={shop.root}/scrap", "--fp16"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == code
        assert ("Unknown option: --fp16" in run.stdout) is bool(code)
