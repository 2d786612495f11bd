"""What trtexec is told and how its words are read, for TensorRT 10 and 11."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from lookonce.card import Precision
from lookonce.errors import EngineFailed, ParityBroken
from lookonce.forge.engine_cache import Ingredients
from lookonce.forge.engine_check import batches, read_outputs
from lookonce.forge.trtexec import Build, Profile, Trtexec, announced_bytes, build_command, ending, failure

PROFILE = Profile(best_batch=8, max_batch=16, size_wh=(640, 480))
BUILD = Build(Path("m.onnx"), Path("m.plan"), PROFILE, Path("t.cache"))
SHAPES = [f"--{name}Shapes=images:{batch}x480x640x3" for name, batch in (("min", 1), ("opt", 8), ("max", 16))]
END = ["--timingCacheFile=t.cache", "--skipInference"]
GONE_IN_11 = "--fp16", "--int8", "--best", "--workspace", "--bf16", "--fp8", "--noTF32", "--calib", "--buildOnly"


@pytest.mark.parametrize(
    ("version", "typing"), [("10.0.1", ["--stronglyTyped"]), ("10.11.0.33", ["--stronglyTyped"]), ("11.1.0", [])]
)
def test_the_command_is_right_for_its_tensorrt(version: str, typing: list[str]) -> None:
    command = build_command(Trtexec("trtexec", version), BUILD)
    assert command == ["trtexec", "--onnx=m.onnx", "--saveEngine=m.plan", *typing, *SHAPES, *END]


def test_a_graph_of_one_fixed_picture_is_given_no_shapes() -> None:
    build = replace(BUILD, profile=Profile(best_batch=1, max_batch=1, size_wh=(640, 480)))
    assert build_command(Trtexec("trtexec", "11.1.0"), build) == [
        "trtexec",
        "--onnx=m.onnx",
        "--saveEngine=m.plan",
        *END,
    ]


@pytest.mark.parametrize("version", ["10.0.1", "11.1.0", "12.0.0"])
def test_no_flag_is_given_that_tensorrt_11_has_not(version: str) -> None:
    command = build_command(Trtexec("trtexec", version), replace(BUILD, workspace_mib=4096))
    assert not [option for option in command if option.startswith(GONE_IN_11)]
    assert "--memPoolSize=workspace:4096" in command


def test_what_this_trtexec_does_not_know_is_left_out_or_refused() -> None:
    flags = {option.partition("=")[0] for option in build_command(Trtexec("", "11.0.0"), BUILD)} - {""}
    old = Trtexec("trtexec", "11.9.0", frozenset(flags - {"--timingCacheFile", "--skipInference"}))
    assert build_command(old, BUILD) == ["trtexec", "--onnx=m.onnx", "--saveEngine=m.plan", *SHAPES]
    strange = Trtexec("trtexec", "10.11.0", frozenset(flags - {"--minShapes"}))
    with pytest.raises(EngineFailed, match=r"does not know --stronglyTyped, --minShapes\."):
        build_command(strange, BUILD)


LOGS = [
    ([], "it gave no reason"),
    (["&&&& RUNNING TensorRT.trtexec [TensorRT v101100]", "[I] so far so good"], "it gave no reason"),
    (
        ["trtexec: error while loading shared libraries: libnvinfer.so.10"],
        "trtexec: error while loading shared libraries: libnvinfer.so.10",
    ),
    (["[11/21/2026-12:00:00] [E] Unknown option: --fp16 "], "Unknown option: --fp16"),
    (["[I] fine", "[E] [TRT] Error Code 2: first", "[E] Engine set up failed"], "Error Code 2: first"),
    (["[E] [TRT] one.", "[W] [TRT] two", "[E] [TRT] three."], "three"),
    (["[E] Building engine failed", "[E] Engine set up failed"], "Engine set up failed"),
    (["[F] [TRT] fatal"], "fatal"),
]


@pytest.mark.parametrize(("lines", "cause"), LOGS)
def test_the_cause_is_the_last_error_that_names_one(lines: list[str], cause: str) -> None:
    assert failure(lines) == cause


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "ended with exit code 1"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL, as the system does when memory runs out"),
    ],
)
def test_an_ending_is_told_in_words(code: int, said: str) -> None:
    assert ending(code) == said


@pytest.mark.parametrize(
    ("log", "size"),
    [("", None), ("Created engine with size: 9.5 MiB", 9.5 * 2**20), ("size: 1.2e+03 MiB", None)],
)
def test_the_announced_size_is_read_where_it_is_told(log: str, size: float | None) -> None:
    assert announced_bytes(log) == size


INGREDIENTS = Ingredients("a" * 64, "10.11.0.33", "8.6", Precision.FP16, PROFILE)
OTHERS = {
    "graph": replace(INGREDIENTS, onnx_sha256="b" * 64),
    "tensorrt": replace(INGREDIENTS, tensorrt_version="10.11.0.34"),
    "capability": replace(INGREDIENTS, compute_capability="8.9"),
    "precision": replace(INGREDIENTS, precision=Precision.INT8),
    "best batch": replace(INGREDIENTS, profile=replace(PROFILE, best_batch=4)),
    "max batch": replace(INGREDIENTS, profile=replace(PROFILE, max_batch=32)),
    "min batch": replace(INGREDIENTS, profile=replace(PROFILE, min_batch=2)),
    "turned": replace(INGREDIENTS, profile=replace(PROFILE, size_wh=(480, 640))),
}


def test_another_value_of_any_ingredient_is_another_key() -> None:
    assert all(first.key != second.key for first, second in combinations([INGREDIENTS, *OTHERS.values()], 2))


def test_the_key_is_the_same_every_time_and_a_plain_file_name() -> None:
    assert INGREDIENTS.key == replace(INGREDIENTS).key
    assert len(INGREDIENTS.key) == 64
    assert set(INGREDIENTS.key) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("count", "largest", "sizes"),
    [(1, 8, [(1, 1)]), (2, 8, [(1, 1), (1, 8)]), (10, 4, [(1, 1), (4, 4), (4, 4), (1, 4)]), (2, 1, [(1, 1), (1, 1)])],
)
def test_pictures_are_tried_at_both_ends_of_the_profile(count: int, largest: int, sizes: list[tuple[int, int]]) -> None:
    parts = list(batches(count, largest))
    assert [(part.stop - part.start, size) for part, size in parts] == sizes
    assert parts[-1][0].stop == count


def test_outputs_are_read_as_trtexec_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(
        '[\n  { "name" : "other"\n  , "dimensions" : "1"\n  , "values" : [ 0 ]\n  }\n'
        ', { "name" : "candidates"\n  , "dimensions" : "1x2x6"\n'
        '  , "values" : [ 1, 2.5, 3e+02, 4, 0.9, 0, 0, 0, 0, 0, 0, -1 ]\n  }\n]\n'
    )
    candidates = read_outputs(file, (1, 2, 6), tmp_path / "log")
    assert candidates.dtype == np.float32
    assert candidates.tolist()[0][0] == pytest.approx([1, 2.5, 300, 4, 0.9, 0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "[]",
        '[{"name" : "candidates"}]',
        '[ "candidates" ]',
        "[1]",
        '[{"name":"candidates","dimensions":6}]',
    ],
)
def test_outputs_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(text)
    with pytest.raises(ParityBroken):
        read_outputs(file, (1, 1, 6), tmp_path / "log")


@pytest.mark.parametrize(
    "values", ["1, 2, 3, 4, 5, nan", "1, 2, 3, 4, 5, -inf", "1, 2, 3, 4, 5", "1, 2, 3, 4, 5, 6, 7"]
)
def test_outputs_that_are_no_numbers_or_too_few_are_refused(tmp_path: Path, values: str) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(f'[{{ "name" : "candidates", "dimensions" : "1x1x6", "values" : [ {values} ] }}]')
    with pytest.raises(ParityBroken, match="missing or not finite"):
        read_outputs(file, (1, 1, 6), tmp_path / "log")
