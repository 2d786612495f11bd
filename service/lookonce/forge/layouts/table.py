"""The one table of layouts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from lookonce.forge.layouts import anchors, doubts, drawings, evidence, shapes
from lookonce.forge.layouts.doubts import Doubt
from lookonce.forge.layouts.evidence import Evidence
from lookonce.forge.layouts.facts import Facts
from lookonce.forge.layouts.rows import Draw, Shape
from lookonce.forge.layouts.shapes import Looks
from lookonce.vision import heads
from lookonce.vision.heads import Anchors, Decode
from lookonce.vision.letterbox import Fit

CountClasses: TypeAlias = Callable[[tuple[Shape, ...]], int]


@dataclass(frozen=True, slots=True)
class Feeding:
    """What the model wants to be fed: (colour − mean) / std, in 0..255 units, and how a picture meets its rectangle."""

    colour: str = "rgb"
    mean: tuple[float, float, float] = (0, 0, 0)
    std: tuple[float, float, float] = (255, 255, 255)
    fit: Fit = Fit.CENTRED


@dataclass(frozen=True, slots=True)
class Layout:
    """`classes` counts the classes from the outputs' shapes; 0 where they do not tell."""

    name: str
    meaning: str
    looks: Looks
    evidence: Evidence
    decode: Decode
    draw: Draw
    classes: CountClasses
    feeding: Feeding = Feeding()
    needs_nms: bool = True
    anchors_wh: Anchors = ()
    scale_xy: tuple[float, ...] = ()
    output_order: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = (doubts.about_scores, doubts.about_boxes)


def deep(depth: int, *, output: int = 0, axis: int = -1) -> CountClasses:
    """Classes are what an output's side holds beyond `depth`."""
    return lambda outputs: outputs[output][axis] - depth


def per_anchor(outputs: tuple[Shape, ...]) -> int:
    return outputs[0][1] // 3 - 5


def untold(_outputs: tuple[Shape, ...]) -> int:
    return 0


LETTERBOX = Feeding()
STRETCH = Feeding(fit=Fit.STRETCH)
YOLOX = Feeding(colour="bgr", std=(1, 1, 1), fit=Fit.TOP_LEFT)

_ROWS = (
    Layout(
        "yolov8",
        "v8, 11, 12, 26, v3u, v5u, v9 converted: [N,4+C,A], cxcywh px",
        shapes.columns,
        evidence.upright,
        heads.columns,
        drawings.columns,
        deep(4, axis=1),
        LETTERBOX,
    ),
    Layout(
        "yolov9-dual",
        "v9-c and v9-e as trained: two [N,4+C,A], the second is the main branch",
        shapes.two_columns,
        evidence.two_branches,
        heads.second_of_two_columns,
        drawings.second_of_two_columns,
        deep(4, axis=1),
        LETTERBOX,
    ),
    Layout(
        "yolov5",
        "v5, v7 --grid: [N,3A,5+C], cxcywh px, objectness · class",
        shapes.anchored_rows,
        evidence.shape_alone,
        heads.rows_with_objectness,
        drawings.rows_with_objectness,
        deep(5),
        LETTERBOX,
    ),
    Layout(
        "yolov6",
        "v6: [N,A,5+C], cxcywh px, objectness is 1",
        shapes.point_rows,
        evidence.objectness_is_one,
        heads.rows_with_objectness,
        drawings.rows_with_objectness,
        deep(5),
        LETTERBOX,
        doubts=(doubts.about_objectness, doubts.about_scores, doubts.about_boxes),
    ),
    Layout(
        "yolox",
        "YOLOX by default: [N,A,5+C], offsets and logarithms of strides",
        shapes.point_rows,
        evidence.yolox(decoded=False),
        heads.yolox_offsets,
        drawings.yolox_offsets,
        deep(5),
        YOLOX,
    ),
    Layout(
        "yolox-decoded",
        "YOLOX --decode_in_inference: [N,A,5+C], cxcywh px",
        shapes.point_rows,
        evidence.yolox(decoded=True),
        heads.rows_with_objectness,
        drawings.rows_with_objectness,
        deep(5),
        YOLOX,
    ),
    Layout(
        "yolov7-raw",
        "v7 without --grid: three [N,3,H,W,5+C], logits, v7's anchors",
        shapes.anchored_grids,
        evidence.nothing,
        heads.anchored_logits,
        drawings.anchored_logits,
        deep(5),
        LETTERBOX,
        anchors_wh=anchors.V4,
    ),
    Layout(
        "yolov5-raw",
        "v5 and v7-tiny without their last layer: three [N,3,H,W,5+C], logits, v5's anchors",
        shapes.anchored_grids,
        evidence.nothing,
        heads.anchored_logits,
        drawings.anchored_logits,
        deep(5),
        LETTERBOX,
        anchors_wh=anchors.V3,
    ),
    Layout(
        "darknet-v3",
        "v3 of Darknet: three [N,3·(5+C),H,W], logits, v3's anchors",
        shapes.darknet_grids(3),
        evidence.nothing,
        heads.darknet,
        drawings.darknet,
        per_anchor,
        STRETCH,
        anchors_wh=anchors.V3,
        scale_xy=anchors.PLAIN_SCALE_XY,
    ),
    Layout(
        "darknet-v4",
        "v4 of Darknet: three [N,3·(5+C),H,W], logits, v4's anchors, scale_x_y 1.2 1.1 1.05",
        shapes.darknet_grids(3),
        evidence.nothing,
        heads.darknet,
        drawings.darknet,
        per_anchor,
        STRETCH,
        anchors_wh=anchors.V4,
        scale_xy=anchors.V4_SCALE_XY,
    ),
    Layout(
        "darknet-v3-tiny",
        "v3-tiny of Darknet: two [N,3·(5+C),H,W], logits",
        shapes.darknet_grids(2),
        evidence.nothing,
        heads.darknet,
        drawings.darknet,
        per_anchor,
        STRETCH,
        anchors_wh=anchors.V3_TINY,
        scale_xy=(1.0, 1.0),
    ),
    Layout(
        "darknet-v4-tiny",
        "v4-tiny of Darknet: two [N,3·(5+C),H,W], logits, scale_x_y 1.05",
        shapes.darknet_grids(2),
        evidence.nothing,
        heads.darknet,
        drawings.darknet,
        per_anchor,
        STRETCH,
        anchors_wh=anchors.V4_TINY,
        scale_xy=(1.05, 1.05),
    ),
    Layout(
        "yolov4-pytorch",
        "v4 of pytorch-YOLOv4: boxes [N,A,1,4] xyxy 0..1, confs [N,A,C]",
        shapes.boxes_and_confidences,
        evidence.shape_alone,
        heads.unit_corners_and_confidences,
        drawings.unit_corners_and_confidences,
        deep(0, output=1),
        STRETCH,
    ),
    Layout(
        "yolov1",
        "v1: [N,S,S,B·5+C], boxes before classes",
        shapes.one_grid,
        evidence.nothing,
        heads.yolov1_grid,
        drawings.yolov1_grid,
        untold,
        STRETCH,
        doubts=(doubts.about_boxes,),
    ),
    Layout(
        "yolov1-roots",
        "v1 trained on the roots of width and height: [N,S,S,B·5+C]",
        shapes.one_grid,
        evidence.nothing,
        heads.yolov1_grid_roots,
        drawings.yolov1_grid_roots,
        untold,
        STRETCH,
        doubts=(doubts.about_boxes,),
    ),
    Layout(
        "end2end",
        "v10, 26 end-to-end, NMS in the graph: [N,K,6], xyxy px, score, class",
        shapes.finished_rows,
        evidence.end_to_end,
        heads.finished_rows,
        drawings.finished_rows,
        untold,
        LETTERBOX,
        needs_nms=False,
    ),
    Layout(
        "rtdetr-ultralytics",
        "RT-DETR of Ultralytics: [N,K,6], cxcywh 0..1, score, class",
        shapes.finished_rows,
        evidence.rtdetr,
        heads.finished_rows_unit_centre,
        drawings.finished_rows_unit_centre,
        untold,
        STRETCH,
        needs_nms=False,
    ),
    Layout(
        "rtdetr-ultralytics-dense",
        "RT-DETR of Ultralytics before 8.4: [N,K,4+C], cxcywh 0..1",
        shapes.query_rows,
        evidence.rtdetr,
        heads.rows_unit_centre,
        drawings.rows_unit_centre,
        deep(4),
        STRETCH,
        needs_nms=False,
    ),
    Layout(
        "rtdetr",
        "RT-DETR, D-FINE, DEIM of their authors: labels, boxes xyxy px, scores",
        shapes.named(labels=2, boxes=3, scores=2),
        evidence.two_inputs,
        heads.labels_boxes_scores,
        drawings.labels_boxes_scores,
        untold,
        STRETCH,
        needs_nms=False,
        output_order=("labels", "boxes", "scores"),
    ),
    Layout(
        "rtdetr-transformers",
        "RT-DETR and D-FINE of transformers: logits [N,K,C], pred_boxes [N,K,4], cxcywh 0..1",
        shapes.named(logits=3, pred_boxes=3),
        evidence.deformable,
        heads.logits_and_unit_centre,
        drawings.logits_and_unit_centre,
        deep(0),
        STRETCH,
        needs_nms=False,
        output_order=("logits", "pred_boxes"),
    ),
    Layout(
        "yolo-nas",
        "YOLO-NAS batch export: num_predictions, pred_boxes xyxy px, pred_scores, pred_classes",
        shapes.named(num_predictions=2, pred_boxes=3, pred_scores=2, pred_classes=2),
        evidence.output_names,
        heads.counted_rows,
        drawings.counted_rows,
        untold,
        LETTERBOX,
        needs_nms=False,
        output_order=("num_predictions", "pred_boxes", "pred_scores", "pred_classes"),
    ),
    Layout(
        "efficientnms-corners",
        "before EfficientNMS_TRT with box_coding 0: boxes xyxy px, scores",
        shapes.nms_inputs(0),
        evidence.plugin,
        heads.corners_and_scores,
        drawings.corners_and_scores,
        deep(0, output=1),
        LETTERBOX,
    ),
    Layout(
        "efficientnms-centres",
        "before EfficientNMS_TRT with box_coding 1: boxes cxcywh px, scores",
        shapes.nms_inputs(1),
        evidence.plugin,
        heads.centres_and_scores,
        drawings.centres_and_scores,
        deep(0, output=1),
        LETTERBOX,
    ),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ROWS}


def of_that_shape(facts: Facts) -> list[Layout]:
    return [layout for layout in LAYOUTS.values() if layout.looks(facts)]


def that_look_like(facts: Facts) -> list[Layout]:
    """Those of that shape; where it leaves a choice, the number of labels counts too."""
    shaped = of_that_shape(facts)
    if len(shaped) < 2 or not facts.labels:
        return shaped
    return [layout for layout in shaped if count_classes(layout, facts) in (0, facts.labels)]


def count_classes(layout: Layout, facts: Facts) -> int:
    return layout.classes(in_order(layout, facts)[1])


def in_order(layout: Layout, facts: Facts) -> tuple[tuple[str, ...], tuple[Shape, ...]]:
    """The outputs' names and shapes as the layout's decoder takes them; grids come finest first."""
    by_name = dict(zip(facts.names, facts.shapes, strict=True))
    names = layout.output_order or tuple(facts.names)
    if layout.anchors_wh:
        names = tuple(sorted(names, key=lambda name: -by_name[name][2]))
    return names, tuple(by_name[name] for name in names)
