"""Naming the layout of a model from facts, or refusing with the choices. Never a guess."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from lookonce.errors import BadModelFile, LayoutUnknown, ModelRefused
from lookonce.forge import plugin
from lookonce.forge.feeding import SIZES_INPUT, Picture, fed, picture_input, resized, sizes
from lookonce.forge.layouts.facts import Facts
from lookonce.forge.layouts.rows import Shape
from lookonce.forge.layouts.table import (
    LAYOUTS,
    Feeding,
    Layout,
    count_classes,
    in_order,
    of_that_shape,
    that_look_like,
)
from lookonce.forge.running import Execution
from lookonce.forge.source import Source, check_opset
from lookonce.vision.heads import Anchors, Decoded, Floats, HeadSpec, Outputs
from lookonce.vision.letterbox import Fit

TASKS = {
    "segment": "a segmentation model",
    "classify": "a classifier",
    "pose": "a pose model",
    "obb": "an oriented-box model",
}
PROBE = Feeding()


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
    outputs: Outputs
    reach: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A source whose outputs are understood; `doubt` is what speaks against the layout that the person insisted on."""

    probed: Probed
    layout: Layout
    why: str
    feeding: Feeding
    spec: HeadSpec
    labels: tuple[str, ...]
    labels_found: bool
    output_names: tuple[str, ...]
    output_shapes: tuple[Shape, ...]
    rows: int
    doubt: str = ""


def probe(source: Source, wishes: Wishes) -> Probed:
    """Runs the source once on noise: shapes that exporters leave open become known."""
    check_opset(source)
    _check_task(source)
    picture = picture_input(source)
    sized, width, height = resized(source, picture, wishes.size_wh)
    model, box_coding = plugin.cut(sized)
    outputs, varies = _runs(source, model, picture, (width, height))
    batch = picture.batch or 1
    facts = Facts(
        width=width,
        height=height,
        names=tuple(value.name for value in model.graph.output),
        shapes=tuple(_of_one(output.shape, batch) for output in outputs),
        input_names=tuple(tensor.name for tensor in source.inputs),
        metadata=source.metadata,
        operators=source.operators,
        weights=tuple(tensor.name for tensor in source.model.graph.initializer),
        labels=len(wishes.labels if wishes.labels is not None else source.labels),
        varies=varies,
        objectness_is_one=_is_one(outputs[0], 4),
        whole_classes=_is_whole(outputs[0], 5),
        box_coding=box_coding,
    )
    reach = max(float(np.abs(output).max(initial=0)) for output in outputs)
    return Probed(source, model, picture, facts, outputs, reach)


def _runs(source: Source, model: onnx.ModelProto, picture: Picture, size_wh: tuple[int, int]) -> tuple[Outputs, bool]:
    """What the source gives for noise, and whether a blank picture gives other shapes, or either gives no row."""
    shape = (picture.batch or 1, size_wh[1], size_wh[0], 3)
    noise, blank = np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.full(shape, 114, np.uint8)
    feeding = _without_scale(PROBE, picture)
    try:
        run = Execution(model)
        outputs, again = (run_source(run, picture, feeding, images, source) for images in (noise, blank))
    except (BadModelFile, ModelRefused) as error:
        if picture.width is not None and picture.height is not None:
            raise
        size = "x".join(map(str, size_wh))
        said = f"{source.path} does not run on pictures of {size}; choose another size with --size. {error}"
        raise ModelRefused(said) from error
    if any(output.dtype.kind not in "fiu" for output in outputs):
        raise LayoutUnknown(f"{source.path} does not answer with numbers alone; export a detection model.")
    return outputs, any(one.shape != other.shape or not one.size for one, other in zip(outputs, again, strict=True))


def _of_one(shape: Shape, batch: int) -> Shape:
    """The shape for one picture; left alone where the first side is no batch."""
    return (1, *shape[1:]) if shape[:1] == (batch,) else shape


def run_source(run: Execution, picture: Picture, feeding: Feeding, images: np.ndarray, source: Source) -> Outputs:
    inputs = {picture.name: fed(images, picture, feeding)}
    if any(tensor.name == SIZES_INPUT for tensor in source.inputs):
        inputs[SIZES_INPUT] = sizes(len(images), images.shape[2], images.shape[1])
    return run(inputs)


def read(source: Source, wishes: Wishes) -> Reading:
    return read_probed(probe(source, wishes), wishes)


def read_probed(probed: Probed, wishes: Wishes) -> Reading:
    source = probed.source
    layout, why = decide(probed, wishes.layout)
    names, shapes = in_order(layout, probed.facts)
    classes = _count_classes(layout, probed.facts)
    said = wishes.labels if wishes.labels is not None else source.labels
    labels = _labels(source, said, classes)
    spec = HeadSpec(probed.facts.width, probed.facts.height, classes, _anchors(layout, wishes), layout.scale_xy)
    decoded, doubted = _decoded(probed, layout, names, spec)
    if doubted and wishes.layout is None:
        raise LayoutUnknown(f"{doubted} If it is one all the same, insist with --layout {layout.name}.")
    return Reading(
        probed=probed,
        layout=layout,
        why=why,
        feeding=_feeding(layout, wishes, probed.picture),
        spec=spec,
        labels=labels,
        labels_found=bool(said),
        output_names=names,
        output_shapes=shapes,
        rows=decoded.scores.shape[1],
        doubt=doubted,
    )


def decide(probed: Probed, asked: str | None) -> tuple[Layout, str]:
    facts, path = probed.facts, probed.source.path
    shaped = of_that_shape(facts)
    if asked is not None and not facts.varies:
        return _as_asked(asked, shaped, probed)
    if not shaped or facts.varies:
        raise LayoutUnknown(f"{path} {_what_it_is(probed)}")
    candidates = that_look_like(facts)
    if not candidates:
        raise LayoutUnknown(f"{path} {_miscounted(shaped, facts)}")
    decided = [(layout, why) for layout in candidates if (why := layout.evidence(facts))]
    if len(decided) == 1:
        return decided[0]
    raise LayoutUnknown(f"{path}: {doubt(probed)} Choose: {choices(candidates)}.")


def doubt(probed: Probed) -> str:
    outputs = outputs_text(probed.facts)
    turns = ", and its graph takes sines and cosines, as one for oriented boxes does" if probed.facts.turns else ""
    return f"its outputs {outputs} do not say which layout they are (values reach {probed.reach:.4g}){turns}."


def choices(candidates: Sequence[Layout]) -> str:
    return "; ".join(f"--layout {layout.name} ({layout.meaning})" for layout in candidates)


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
    if "detect" not in task.lower():
        raise LayoutUnknown(
            f"{source.path} is {TASKS.get(task, f'made for {task}')}, not a detector; export a detect model."
        )


def _what_it_is(probed: Probed) -> str:
    facts = probed.facts
    outputs = outputs_text(facts)
    if _is_flat_list(facts):
        return (
            "ends in NMS with one flat list of 7 columns for the whole batch, "
            "whose length varies, so Triton cannot batch it; "
            "export it without --end2end (v7) or without NMS."
        )
    if facts.varies:
        return (
            f"gives another number of rows for another picture, or none (now {outputs}), so it cannot be batched; "
            "export it without NMS, or with a fixed number of detections."
        )
    if len(facts.shapes) == 1 and len(facts.shapes[0]) == 2 and facts.shapes[0][0] == 1:
        return f"looks like a classifier: its output is {outputs}; export a detection model."
    if len(facts.shapes) > 1 and any(len(shape) == 4 and shape[1] <= 64 for shape in facts.shapes):
        return f"looks like a segmentation model: its outputs are {outputs}; export a detection model."
    return f"is no layout we know: its outputs are {outputs}; see the table of layouts in docs/models.md."


def _is_flat_list(facts: Facts) -> bool:
    """Rows `batch x1 y1 x2 y2 class score`, as v7 --end2end gives them; a classifier of 7 classes is none."""
    suppresses = not facts.operators.isdisjoint({"NonMaxSuppression", "NonZero"})
    return any(len(s) == 2 and s[1] == 7 and (s[0] != 1 or suppresses or facts.varies) for s in facts.shapes)


def _miscounted(shaped: Sequence[Layout], facts: Facts) -> str:
    counts = ", ".join(f"{count_classes(layout, facts)} as {layout.name}" for layout in shaped)
    return (
        f"has outputs {outputs_text(facts)}, which would hold {counts} classes, and there are {facts.labels} labels; "
        "export it as a plain detector with its usual head, or give other labels with --labels."
    )


def _is_one(rows: Floats, column: int) -> bool:
    return _is_table(rows, column) and bool((rows[..., column] == 1).all())


def _is_whole(rows: Floats, column: int) -> bool:
    return _is_table(rows, column) and bool((rows[..., column] == np.round(rows[..., column])).all())


def _is_table(rows: Floats, column: int) -> bool:
    return rows.ndim == 3 and rows.shape[2] > column and rows.size > 0


def _decoded(probed: Probed, layout: Layout, names: Sequence[str], spec: HeadSpec) -> tuple[Decoded, str]:
    """What one run means, and what it says against the layout. Raises ModelRefused where that could not be served."""
    by_name = dict(zip(probed.facts.names, probed.outputs, strict=True))
    outputs = [by_name[name] for name in names]
    with np.errstate(all="ignore"):
        decoded = layout.decode(outputs, spec)
        said = next((said for doubt in layout.doubts if (said := doubt(outputs, decoded, spec))), "")
    greatest = int(decoded.class_ids[decoded.scores > 0].max(initial=0))
    if greatest >= spec.classes:
        raise ModelRefused(
            f"{probed.source.path} gives class {greatest} as {layout.name}, and there are {spec.classes} labels; "
            "name every class with --labels, or another layout with --layout."
        )
    told = f"{probed.source.path} does not look like {layout.name} ({layout.meaning}): on a picture of noise {said}."
    return decoded, told if said else ""


def _count_classes(layout: Layout, facts: Facts) -> int:
    classes = count_classes(layout, facts) or facts.labels
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
            "name each class once, in order, with --labels, or export a plain detector if it is none."
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
    feeding = _without_scale(layout.feeding, picture)
    said = {key: getattr(wishes, key) for key in ("colour", "mean", "std", "fit") if getattr(wishes, key) is not None}
    return replace(feeding, **said)


def _without_scale(feeding: Feeding, picture: Picture) -> Feeding:
    return replace(feeding, std=(1, 1, 1)) if picture.kind == "uint8" else feeding
