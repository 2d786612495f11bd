"""Whether a built plan answers as the graph it was built from does: a plan can be wrong and say nothing of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from lookonce.card import INPUT, OUTPUT, ROW, Agreement, Card, Precision
from lookonce.errors import ModelRefused, ParityBroken
from lookonce.forge.agreement import Pairing, Rule
from lookonce.forge.child import Errand
from lookonce.forge.gallery import Gallery, drawn, in_folder
from lookonce.forge.progress import Report
from lookonce.forge.running import Candidates, Images, runner_of
from lookonce.forge.source import read_source
from lookonce.forge.trtexec import OUTPUTS, Profile, Trtexec, inference_command, run_trtexec

RUN_WITHIN_S = 600.0
DRAWN_PICTURES, MOST_PICTURES, MOST_AT_ONCE = 48, 200, 64
LIKE_HALF = {Precision.FP32: Precision.FP16}
"""An FP32 plan multiplies in TF32, whose mantissa is that of half precision, so it is held to the same share."""
_NOT_A_NUMBER = re.compile(r"-?\b(?:nan|inf)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bench:
    """A plan, what runs it, and a folder to do so in."""

    trtexec: Trtexec
    plan: Path
    profile: Profile
    folder: Path
    log: Path
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class ExportedTensor:
    """One entry of the file that trtexec writes."""

    name: str
    dimensions: str
    values: list[float]


_tensors = TypeAdapter(list[ExportedTensor])


def pictures_for(card: Card, folder: Path | None, report: Report) -> Gallery:
    if folder is None:
        return drawn(card.geometry, DRAWN_PICTURES)
    pictures = in_folder(folder, card.geometry, MOST_PICTURES, report)
    if not pictures:
        raise ModelRefused(f"{folder} holds no picture that can be read; give another folder with `--images`.")
    return pictures


def try_plan(bench: Bench, card: Card, onnx: Path, pictures: Gallery, report: Report) -> Agreement:
    """The plan through trtexec against its graph on ONNX Runtime, detection by detection."""
    precision = LIKE_HALF.get(card.precision, card.precision)
    rule = Rule(precision, needs_nms=card.needs_nms, emulated=card.precision is Precision.FP16)
    graph, pairings = runner_of(read_source(onnx).model), list[Pairing]()
    for part, size in batches(len(pictures), min(bench.profile.max_batch, MOST_AT_ONCE)):
        report("trying the plan on pictures", part.start, len(pictures))
        images = np.stack(list(pictures[part]))
        answers = plan_answers(bench, card, np.resize(images, (size, *images.shape[1:])))[: len(images)]
        for place, pair in enumerate(zip(graph(images), answers, strict=True), part.start):
            pairings.append(rule.pair(place, *pair))
    report("trying the plan on pictures", len(pictures), len(pictures))
    return rule.judge(pairings).agreement


def batches(count: int, largest: int) -> Iterator[tuple[slice, int]]:
    """Which pictures go together, and how large a batch they make once some are repeated to fill it.

    The first goes alone, the rest in full batches: a plan can be right at one end of its profile and not at the other.
    """
    yield slice(0, 1), 1
    for start in range(1, count, largest):
        yield slice(start, min(start + largest, count)), largest


def plan_answers(bench: Bench, card: Card, images: Images) -> Candidates:
    """FP32 [N,K,6], as the plan gives it through trtexec."""
    (bench.folder / f"{INPUT}.bin").write_bytes(images.tobytes())
    (bench.folder / OUTPUTS).unlink(missing_ok=True)
    command = inference_command(bench.trtexec, bench.plan, bench.profile, len(images))
    errand = Errand(command, bench.log, RUN_WITHIN_S, bench.folder, bench.variables)
    run_trtexec(errand, "cannot run the plan it built", lambda _line: None)
    return read_outputs(bench.folder / OUTPUTS, (len(images), card.candidates, ROW), bench.log)


def read_outputs(file: Path, shape: tuple[int, int, int], log: Path) -> Candidates:
    """The tensor `candidates` of trtexec's `--exportOutput`: text of six digits, so 0.001 px at best."""
    tensor, wanted = _exported(file, log), "x".join(map(str, shape))
    if tensor.dimensions != wanted:
        raise ParityBroken(f"the plan answers shape {tensor.dimensions} instead of {wanted}; import the model again.")
    values = np.array(tensor.values, np.float32)
    if values.size != np.prod(shape) or not np.isfinite(values).all():
        raise ParityBroken(
            f"the plan answers numbers that are missing or not finite, which its graph does not; the log is {log}. "
            "Use another TensorRT version or precision."
        )
    return values.reshape(shape)


def _exported(file: Path, log: Path) -> ExportedTensor:
    """TensorRT writes NaN and infinity as C++ does, which is no JSON."""
    try:
        tensors = _tensors.validate_json(_NOT_A_NUMBER.sub("NaN", file.read_text()))
        return next(tensor for tensor in tensors if tensor.name == OUTPUT)
    except (OSError, ValidationError, StopIteration) as error:
        message = f"trtexec ran the new plan and wrote no tensor called {OUTPUT}; its log is {log}."
        raise ParityBroken(message) from error
