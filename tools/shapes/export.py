"""Writes a trained shapes detector as ONNX: `images` [batch, 3, 640, 640] to `output0` [batch, 10, 8400]."""

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from network import BINS, SIDES, ConvUnit, ShapesNet, anchor_grid
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lookonce.forge.pictures import LABELS, draw_picture

INPUT_SIZE_PX: Final = 640
OPSET: Final = 17
IR_VERSION: Final = 8
LARGEST_BOX_GAP_PX: Final = 0.05
LARGEST_SCORE_GAP: Final = 1e-4


class RawDetector(nn.Module):
    """The network with its decoding: rows cx, cy, w, h in input pixels, then one score per label."""

    centers: Tensor
    strides: Tensor
    bins: Tensor

    def __init__(self, network: ShapesNet) -> None:
        super().__init__()
        self.network = network
        centers, strides = anchor_grid((INPUT_SIZE_PX, INPUT_SIZE_PX))
        self.register_buffer("centers", centers.t().unsqueeze(0).contiguous())
        self.point_count = len(strides)
        self.register_buffer("strides", strides.view(1, 1, -1))
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        bin_logits, label_logits = self.network(images)
        likelihood = bin_logits.reshape(-1, SIDES, BINS, self.point_count).transpose(1, 2).softmax(dim=1)
        reach = nn.functional.conv2d(likelihood, self.bins).reshape(-1, SIDES, self.point_count) * self.strides
        left_top, right_bottom = reach[:, :2], reach[:, 2:]
        center = self.centers + (right_bottom - left_top) / 2
        return torch.cat([center, left_top + right_bottom, label_logits.sigmoid()], dim=1)


def folded(network: ShapesNet) -> ShapesNet:
    """A copy for inference, every batch normalisation folded into its convolution."""
    inference = copy.deepcopy(network).eval()
    for module in inference.modules():
        if isinstance(module, ConvUnit) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return inference


def write_onnx(network: ShapesNet, path: Path, metadata: Mapping[str, str]) -> None:
    """Export, check against torch and write."""
    detector = RawDetector(folded(network)).eval()
    images = torch.zeros(2, 3, INPUT_SIZE_PX, INPUT_SIZE_PX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector,
            (images,),
            str(path),
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    _tidy(path, metadata)
    _compare(detector, path)


def base_metadata() -> dict[str, str]:
    return {
        "names": str(dict(enumerate(LABELS))),
        "stride": "32",
        "imgsz": str([INPUT_SIZE_PX, INPUT_SIZE_PX]),
        "task": "detect",
        "author": "LookOnce",
        "license": "Apache-2.0",
    }


def _tidy(path: Path, metadata: Mapping[str, str]) -> None:
    model = onnx.load(path)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "LookOnce", "", ""
    model.graph.name, model.graph.doc_string = "shapes", ""
    for node in model.graph.node:
        node.doc_string = ""
    anchor_count = len(anchor_grid((INPUT_SIZE_PX, INPUT_SIZE_PX))[1])
    shape = model.graph.output[0].type.tensor_type.shape
    shape.dim[1].dim_value, shape.dim[2].dim_value = SIDES + len(LABELS), anchor_count
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _compare(detector: RawDetector, path: Path) -> None:
    drawn = [draw_picture(seed).image_rgb.transpose(2, 0, 1) for seed in (0, 1, 2)]
    images = np.stack(drawn).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (exported,) = session.run(["output0"], {"images": images})
    with torch.inference_mode():
        expected = detector(torch.from_numpy(images)).numpy()
    gap = np.abs(np.asarray(exported) - expected)
    box_gap, score_gap = float(gap[:, :SIDES].max()), float(gap[:, SIDES:].max())
    if box_gap > LARGEST_BOX_GAP_PX or score_gap > LARGEST_SCORE_GAP:
        raise RuntimeError(f"the export differs from torch: boxes by {box_gap} px, scores by {score_gap}")
