"""Naming the layout of a model from facts, or refusing with the choices. Never a guess."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from lookonce.errors import LayoutUnknown, ModelRefused
from lookonce.forge import plugin
from lookonce.forge.execution import Execution
from lookonce.forge.feeding import SIZES_INPUT, Picture, fed, picture_input, resized, sizes
from lookonce.forge.layouts.facts import Facts
from lookonce.forge.layouts.rows import Shape
from lookonce.forge.layouts.table import LAYOUTS, Feeding, Layout, that_look_like
from lookonce.forge.source import Source, check_opset
from lookonce.vision.heads import Anchors, HeadSpec, Outputs
from lookonce.vision.letterbox import Fit

TASKS = {
    "segment": "a segmentation model",
    "classify": "a classifier",
    "pose": "a pose model",
    "obb": "an oriented-box model",
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person said; None where nothing was said."""

    layout: str | None = None
    size_wh: tuple[int, int] | None = None
    labels: tuple[str, ...] | None = None
    anchors_wh: Anchors | None = None
    colour: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    fit: Fit | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """A source that ran once: its graph at one size, cut before any plugin, and what came out."""

    source: Source
    model: onnx.ModelProto
    picture: Picture
    facts: Facts
    reach: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A source whose outputs are understood."""

    probed: Probed
    layout: Layout
    why: str
    feeding: Feeding
    spec: HeadSpec
    labels: tuple[str, ...]
    labels_found: bool
    output_names: tuple[str, ...]
    output_shapes: tuple[Shape, ...]


def probe(source: Source, wishes: Wishes) -> Probed:
    """Runs the source once on noise: shapes that exporters leave open become known."""
    check_opset(source)
    _check_task(source)
    picture = picture_input(source)
    sized, width, height = resized(source, picture, wishes.size_wh)
    model, box_coding = plugin.cut(sized)
    noise = np.random.default_rng(0).integers(0, 256, (picture.batch or 1, height, width, 3), np.uint8)
    outputs = run_source(Execution(model), picture, LAYOUTS["yolov8"].feeding, noise, source)
    facts = Facts(
        width=width,
        height=height,
        names=tuple(value.name for value in model.graph.output),
        shapes=tuple((1, *output.shape[1:]) for output in outputs),
        input_names=tuple(tensor.name for tensor in source.inputs),
        metadata=source.metadata,
        operators=source.operators,
        weights=tuple(tensor.name for tensor in source.model.graph.initializer),
        labels=len(wishes.labels if wishes.labels is not None else source.labels),
        objectness_is_one=_objectness_is_one(outputs),
        box_coding=box_coding,
    )
    return Probed(source, model, picture, facts, max(float(np.abs(output).max(initial=0)) for output in outputs))


def run_source(run: Execution, picture: Picture, feeding: Feeding, images: np.ndarray, source: Source) -> Outputs:
    inputs = {picture.name: fed(images, picture, feeding)}
    if any(tensor.name == SIZES_INPUT for tensor in source.inputs):
        inputs[SIZES_INPUT] = sizes(len(images), images.shape[2], images.shape[1])
    return run(inputs)


def read(source: Source, wishes: Wishes) -> Reading:
    probed = probe(source, wishes)
    layout, why = decide(probed, wishes.layout)
    names, shapes = _in_order(layout, probed.facts)
    classes = _count_classes(layout, shapes, probed.facts)
    said = wishes.labels if wishes.labels is not None else source.labels
    spec = HeadSpec(probed.facts.width, probed.facts.height, classes, _anchors(layout, wishes), layout.scale_xy)
    return Reading(
        probed=probed,
        layout=layout,
        why=why,
        feeding=_feeding(layout, wishes, probed.picture),
        spec=spec,
        labels=_labels(source, said, classes),
        labels_found=bool(said),
        output_names=names,
        output_shapes=shapes,
    )


def decide(probed: Probed, asked: str | None) -> tuple[Layout, str]:
    facts, path = probed.facts, probed.source.path
    candidates = that_look_like(facts)
    if asked is not None:
        return _as_asked(asked, candidates, probed)
    if not candidates:
        raise LayoutUnknown(f"{path} {_what_it_is(probed)}")
    decided = [(layout, why) for layout in candidates if (why := layout.evidence(facts))]
    if len(decided) == 1:
        return decided[0]
    raise LayoutUnknown(f"{path}: {ambiguity(probed, candidates)}")


def ambiguity(probed: Probed, candidates: Sequence[Layout]) -> str:
    choices = "; ".join(f"--layout {layout.name} ({layout.meaning})" for layout in candidates)
    outputs = outputs_text(probed.facts)
    return (
        f"its outputs {outputs} do not say which layout they are (values reach {probed.reach:.4g}). Choose: {choices}."
    )


def outputs_text(facts: Facts) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in zip(facts.names, facts.shapes, strict=True))


def _as_asked(asked: str, candidates: Sequence[Layout], probed: Probed) -> tuple[Layout, str]:
    if asked not in LAYOUTS:
        raise LayoutUnknown(f"there is no layout {asked}; the layouts are {', '.join(LAYOUTS)}.")
    if LAYOUTS[asked] not in candidates:
        fitting = ", ".join(layout.name for layout in candidates) or "none"
        raise LayoutUnknown(
            f"{probed.source.path} cannot be {asked} ({LAYOUTS[asked].meaning}): its outputs are "
            f"{outputs_text(probed.facts)}; layouts that fit: {fitting}."
        )
    return LAYOUTS[asked], "you said so with --layout"


def _check_task(source: Source) -> None:
    task = source.metadata.get("task", "detect")
    if task != "detect":
        raise LayoutUnknown(
            f"{source.path} is {TASKS.get(task, f'made for {task}')}, not a detector; export a detect model."
        )


def _what_it_is(probed: Probed) -> str:
    facts = probed.facts
    outputs = outputs_text(facts)
    if any(len(shape) == 2 and shape[-1] == 7 for shape in facts.shapes):
        return (
            "ends in NMS with one flat list of 7 columns for the whole batch, "
            "whose length varies, so Triton cannot batch it; "
            "export it without --end2end (v7) or without NMS."
        )
    if len(facts.shapes) == 1 and len(facts.shapes[0]) == 2:
        return f"looks like a classifier: its output is {outputs}; export a detection model."
    if len(facts.shapes) > 1 and any(len(shape) == 4 and shape[1] <= 64 for shape in facts.shapes):
        return f"looks like a segmentation model: its outputs are {outputs}; export a detection model."
    return f"is no layout we know: its outputs are {outputs}; see the table of layouts in docs/models.md."


def _objectness_is_one(outputs: Outputs) -> bool:
    rows = outputs[0]
    return len(outputs) == 1 and rows.ndim == 3 and rows.shape[2] > 5 and bool((rows[..., 4] == 1).all())


def _in_order(layout: Layout, facts: Facts) -> tuple[tuple[str, ...], tuple[Shape, ...]]:
    names = layout.output_order or tuple(facts.names)
    by_name = dict(zip(facts.names, facts.shapes, strict=True))
    if layout.anchors_wh and not layout.output_order:
        names = tuple(sorted(facts.names, key=lambda name: -by_name[name][-2]))
    return names, tuple(by_name[name] for name in names)


def _count_classes(layout: Layout, shapes: tuple[Shape, ...], facts: Facts) -> int:
    classes = layout.classes(shapes) or facts.labels
    if not classes:
        raise ModelRefused(
            f"the outputs of a {layout.name} model do not tell how many classes it has; say with --labels FILE."
        )
    return classes


def _labels(source: Source, said: tuple[str, ...], classes: int) -> tuple[str, ...]:
    if not said:
        return tuple(f"class_{place}" for place in range(classes))
    if len(said) != classes:
        raise ModelRefused(
            f"{source.path} has {classes} classes and {len(said)} labels were given; "
            "name each class once, in order, with --labels."
        )
    return said


def _anchors(layout: Layout, wishes: Wishes) -> Anchors:
    if wishes.anchors_wh is None:
        return layout.anchors_wh
    if [len(head) for head in wishes.anchors_wh] != [len(head) for head in layout.anchors_wh]:
        heads = len(layout.anchors_wh)
        raise ModelRefused(
            f"layout {layout.name} takes {heads * 3} anchors, 3 a head, finest head first; --anchors has others."
        )
    return wishes.anchors_wh


def _feeding(layout: Layout, wishes: Wishes, picture: Picture) -> Feeding:
    feeding = replace(layout.feeding, std=(1, 1, 1)) if picture.kind == "uint8" else layout.feeding
    said = {key: getattr(wishes, key) for key in ("colour", "mean", "std", "fit") if getattr(wishes, key) is not None}
    return replace(feeding, **said)
