"""Writes files as their packages' own exporters do, with random weights, and what the packages make of their outputs.

For each file NAME.onnx a NAME.npz holds `images`, UINT8 [N,S,S,3] RGB, and for picture 0 `0/fed`, what the package
makes of it; `0/OUTPUT`, what ONNX Runtime then gives for each output; `0/rows`, the rows `x1 y1 x2 y2 score class` that
the package's own post-processing makes of those, all of them; and `0/kept`, those that it would show.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torchvision_on_cpu
from torch import Tensor, nn

SIDE, CLASSES = 256, 12
Rows = list[Tensor]
Layers = Iterable[nn.Module]
Fed = Callable[[np.ndarray], Tensor]
Finish = Callable[[list[Tensor]], Rows]


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    torchvision_on_cpu.install()
    folder.mkdir(parents=True)
    for write in (write_yolox, write_transformers):
        for name in write(folder):
            print(f"exported {name}")  # noqa: T201


def write_yolox(folder: Path) -> Iterator[str]:
    from yolox.data.data_augment import preproc  # noqa: PLC0415
    from yolox.utils import demo_postprocess, postprocess  # noqa: PLC0415

    def fed(image: np.ndarray) -> Tensor:
        return torch.from_numpy(preproc(image[..., ::-1], (SIDE, SIDE))[0])[None]

    def rows(decoded: Tensor, least: float, overlap: float) -> Rows:
        found = postprocess(decoded.clone(), CLASSES, conf_thre=least, nms_thre=overlap)
        return [torch.cat([row[:, :4], row[:, 4:5] * row[:, 5:6], row[:, 6:]], 1) for row in found]

    def decoded(outputs: list[Tensor]) -> Tensor:
        return torch.from_numpy(demo_postprocess(outputs[0].numpy().copy(), (SIDE, SIDE)))

    model = yolox_model()
    for decodes in (True, False):
        model.head.decode_in_inference = decodes
        read = (lambda outputs: outputs[0]) if decodes else decoded
        for free in (True, False):
            name = f"yolox-{'decoded' if decodes else 'raw'}-{'free' if free else 'fixed'}"
            save_onnx(model, folder / f"{name}.onnx", "images", ["output"], free=free)
            save_rows(
                folder / f"{name}.npz",
                fed,
                lambda outputs, read=read: rows(read(outputs), 0, 1),
                lambda outputs, read=read: rows(read(outputs), 0.25, 0.45),
            )
            yield name


def write_transformers(folder: Path) -> Iterator[str]:
    from transformers import RTDetrImageProcessor  # noqa: PLC0415
    from transformers.models.rt_detr.modeling_rt_detr import RTDetrObjectDetectionOutput  # noqa: PLC0415

    processor = RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})

    def fed(image: np.ndarray) -> Tensor:
        return processor(images=[image], return_tensors="pt")["pixel_values"]

    def rows(outputs: list[Tensor], least: float) -> Rows:
        answer = RTDetrObjectDetectionOutput(logits=outputs[0], pred_boxes=outputs[1])
        sizes = [(SIDE, SIDE)] * len(outputs[0])
        found = processor.post_process_object_detection(answer, threshold=least, target_sizes=sizes)
        return [
            torch.cat([each["boxes"], each["scores"][:, None], each["labels"][:, None].float()], 1) for each in found
        ]

    for family, model in transformers_models():
        for free in (True, False):
            name = f"{family}-{'free' if free else 'fixed'}"
            save_onnx(model, folder / f"{name}.onnx", "pixel_values", ["logits", "pred_boxes"], free=free)
            finishes = (lambda outputs: rows(outputs, -1)), (lambda outputs: rows(outputs, 0.25))
            save_rows(folder / f"{name}.npz", fed, *finishes)
            yield name


def yolox_model() -> nn.Module:
    from yolox.exp import get_exp  # noqa: PLC0415
    from yolox.models.network_blocks import SiLU  # noqa: PLC0415
    from yolox.utils import replace_module  # noqa: PLC0415

    torch.manual_seed(1)
    plan = get_exp(exp_name="yolox-nano")
    plan.num_classes, plan.test_size = CLASSES, (SIDE, SIDE)
    model = replace_module(plan.get_model().eval(), nn.SiLU, SiLU)
    model.head.decode_in_inference = True
    seen = pixels(255).flip(1)
    settle_norms(model, seen)
    wanted = (model.head.cls_preds, 1.5, -1.0), (model.head.obj_preds, 1.5, 0.0), (model.head.reg_preds, 0.7, 0.8)
    for layers, spread, middle in wanted:
        spread_outputs(model, seen, layers, spread, middle)
    return model


def transformers_models() -> Iterator[tuple[str, nn.Module]]:
    import transformers as hf  # noqa: PLC0415

    stages = ["stage2", "stage3", "stage4"]
    residual = hf.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1] * 4, layer_type="basic", out_features=stages
    )
    gated = hf.HGNetV2Config(
        embedding_size=8,
        hidden_sizes=[16, 32, 48, 64],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 32, 48],
        stage_mid_channels=[8, 16, 16, 24],
        stage_out_channels=[16, 32, 48, 64],
        stage_num_blocks=[1] * 4,
        stage_numb_of_layers=[2] * 4,
        out_features=stages,
    )
    rest = {
        "encoder_in_channels": [32, 48, 64],
        "encoder_hidden_dim": 64,
        "d_model": 64,
        "decoder_in_channels": [64] * 3,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "num_queries": 100,
        "num_labels": CLASSES,
        "num_denoising": 0,
        "anchor_image_size": None,
    }
    points = {"decoder_n_points": [4, 4, 4]}
    kinds = (
        ("rtdetr", hf.RTDetrForObjectDetection, hf.RTDetrConfig(backbone_config=residual, **rest)),
        ("rtdetrv2", hf.RTDetrV2ForObjectDetection, hf.RTDetrV2Config(backbone_config=residual, **rest)),
        ("dfine", hf.DFineForObjectDetection, hf.DFineConfig(backbone_config=gated, **rest, **points)),
    )
    for family, make, config in kinds:
        torch.manual_seed(3)
        model = LogitsAndBoxes(make(config)).eval()
        seen, inner = pixels(1), model.model.model
        settle_norms(model, seen)
        for layer in (inner.enc_score_head, inner.decoder.class_embed[-1]):
            spread_outputs(model, seen, [layer], 1.0, -3.0)
        yield family, model


class LogitsAndBoxes(nn.Module):
    """What `optimum` exports of these models: the two tensors that matter."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.model(pixel_values=pixel_values, return_dict=True)
        return answer.logits, answer.pred_boxes


def pictures() -> np.ndarray:
    """Noise, coarse noise, and a rectangle on a gradient: UINT8 [3,S,S,3] RGB."""
    random = np.random.default_rng(7)
    fine = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    coarse = random.integers(0, 256, (16, 16, 3), np.uint8).repeat(SIDE // 16, 0).repeat(SIDE // 16, 1)
    rising = np.linspace(0, 255, SIDE, dtype=np.uint8)
    drawn = np.stack(np.broadcast_arrays(rising[:, None], rising[None], np.uint8(90)), -1).copy()
    drawn[60:160, 80:200] = 250, 30, 40
    return np.stack([fine, coarse, drawn])


def settle_norms(model: nn.Module, seen: Tensor) -> None:
    """Untrained layers let no picture through: their norms take the statistics of some pictures."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        model(seen)
    model.eval()


def spread_outputs(model: nn.Module, seen: Tensor, layers: Layers, spread: float, middle: float) -> None:
    """Scales last layers so that over pictures and places each of their outputs has that deviation and mean."""
    answers: dict[nn.Module, Tensor] = {}
    hooks = [layer.register_forward_hook(lambda of, _given, made: answers.update({of: made})) for layer in layers]
    with torch.no_grad():
        model(seen)
        for layer, made in answers.items():
            values = made.movedim(1 if layer.weight.ndim == 4 else -1, -1).reshape(-1, len(layer.bias))
            factor = spread / values.std(0).clamp(min=1e-4)
            layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
            layer.bias.copy_((layer.bias - values.mean(0)) * factor + middle)
    for hook in hooks:
        hook.remove()


def pixels(most: float) -> Tensor:
    return torch.from_numpy(pictures()).permute(0, 3, 1, 2).float() * (most / 255)


def save_onnx(model: nn.Module, path: Path, taken: str, given: list[str], *, free: bool) -> None:
    axes = {name: {0: "batch"} for name in (taken, *given)}
    torch.onnx.export(
        model,
        (torch.rand(1, 3, SIDE, SIDE),),
        path,
        input_names=[taken],
        output_names=given,
        opset_version=17,
        dynamo=False,
        dynamic_axes=axes if free else None,
    )


def save_rows(path: Path, fed: Fed, every: Finish, kept: Finish) -> None:
    session = onnxruntime.InferenceSession(path.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    taken, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    arrays = {"images": pictures()}
    for place, image in enumerate(arrays["images"]):
        values = fed(image).numpy()
        outputs = session.run(None, {taken: values})
        tensors = [torch.from_numpy(output) for output in outputs]
        told = {"fed": values, "rows": every(tensors)[0].numpy(), "kept": kept(tensors)[0].numpy()}
        named = told | dict(zip(names, outputs, strict=True))
        arrays |= {f"{place}/{name}": array for name, array in named.items()}
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
