"""Facts that decide between layouts of one shape. Each gives the reason in words, or nothing."""

from collections.abc import Callable
from typing import TypeAlias

from lookonce.forge.layouts.facts import Facts

Evidence: TypeAlias = Callable[[Facts], str]


def shape_alone(_facts: Facts) -> str:
    return "no other family has outputs of this shape"


def upright(facts: Facts) -> str:
    return "" if facts.turns else shape_alone(facts)


def nothing(_facts: Facts) -> str:
    return ""


def output_names(_facts: Facts) -> str:
    return "its outputs carry this family's names"


def two_branches(_facts: Facts) -> str:
    return "two equal heads: the first is v9's auxiliary branch, the second the main one"


def objectness_is_one(facts: Facts) -> str:
    return "its objectness is 1 everywhere, as v6 writes it" if facts.objectness_is_one else ""


def yolox(*, decoded: bool) -> Evidence:
    def reason(facts: Facts) -> str:
        if not facts.has_weight("obj_preds") or facts.objectness_is_one or ("Exp" in facts.operators) is not decoded:
            return ""
        return f"its weights are named as YOLOX's, and an Exp in the graph is {'present' if decoded else 'absent'}"

    return reason


def end_to_end(facts: Facts) -> str:
    if facts.says("end2end", "true"):
        return "its metadata says end2end"
    if facts.says("args", "'nms': true"):
        return "its metadata says that NMS is in the graph"
    if facts.says("description", "yolov10"):
        return "its metadata says YOLOv10"
    return ""


def rtdetr(facts: Facts) -> str:
    if facts.says("description", "rt-detr") or facts.says("description", "rtdetr"):
        return "its metadata says RT-DETR"
    return ""


def two_inputs(facts: Facts) -> str:
    return "it asks for orig_target_sizes" if "orig_target_sizes" in facts.input_names else ""


def deformable(facts: Facts) -> str:
    """Deformable DETR has these outputs too, and wants to be fed otherwise."""
    if "GridSample" not in facts.operators or not facts.has_weight("enc_score_head"):
        return ""
    return "its outputs and its enc_score_head carry this family's names, and its attention samples a grid"


def plugin(_facts: Facts) -> str:
    return "it ends in TensorRT's EfficientNMS, which says how its boxes are coded; the graph is cut before it"
