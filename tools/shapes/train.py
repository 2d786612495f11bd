"""Trains the shapes detector on the CPU and exports it.

    PYTHONPATH=service python tools/shapes/train.py --seed 1 --minutes 60 --work-dir /tmp/shapes --onnx shapes.onnx

Stopped runs continue from the last checkpoint in the work directory. `--minutes 0` only exports it.
"""

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import seeds
import torch
from export import RawDetector, base_metadata, folded, write_onnx
from loss import Truth, detection_loss
from measure import Floats, Report, measure
from network import ShapesNet
from pool import batches, open_pool
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lookonce.forge.pictures import LABELS, Picture, draw_picture

KERNEL_AXES: Final = 4
SMALL_BATCH: Final = 16
LARGE_BATCH: Final = 8
WARMUP_STEPS: Final = 300
PEAK_LEARNING_RATE: Final = 2e-3
LAST_LEARNING_RATE_SHARE: Final = 0.01
WEIGHT_DECAY: Final = 0.02
LONGEST_GRADIENT: Final = 10.0
AVERAGE_DECAY: Final = 0.998
AVERAGE_WARMUP_STEPS: Final = 1000
CHECKPOINT_SECONDS: Final = 60.0
CHECK_SECONDS: Final = 300.0


@dataclass(slots=True)
class Run:
    """Everything that a checkpoint keeps."""

    network: ShapesNet
    average: ShapesNet
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0

    def save(self, path: Path) -> None:
        state: dict[str, Any] = {"network": self.network.state_dict(), "average": self.average.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "elapsed_s": self.elapsed_s}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the weights, the order and the augmentation")
    parser.add_argument("--minutes", type=float, default=60.0, help="training time, all resumed parts together")
    parser.add_argument("--large-share", type=float, default=0.5, help="last part of the time, on 640 px pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work-dir", type=Path, required=True, help="for drawn pictures and checkpoints")
    parser.add_argument("--onnx", type=Path, help="where to write the export")
    return parser.parse_args()


def new_run(seed: int) -> Run:
    torch.manual_seed(seed)
    network = ShapesNet(len(LABELS))
    for kernel in network.parameters():
        if kernel.ndim == KERNEL_AXES:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    kernels = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": kernels, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return Run(network, copy.deepcopy(network).eval(), torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE))


def learning_rate(step: int, progress: float) -> float:
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    wave = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return PEAK_LEARNING_RATE * warmup * (LAST_LEARNING_RATE_SHARE + (1 - LAST_LEARNING_RATE_SHARE) * wave)


def train_step(run: Run, images: torch.Tensor, truth: Truth, rate: float) -> float:
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", torch.bfloat16):
        bin_logits, label_logits = run.network(images)
    height, width = images.shape[2:]
    loss = detection_loss(bin_logits.float(), label_logits.float(), truth, (height, width))
    run.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), LONGEST_GRADIENT)
    run.optimizer.step()
    run.step += 1
    _update_average(run)
    return float(loss.detach())


def _update_average(run: Run) -> None:
    decay = AVERAGE_DECAY * (1 - math.exp(-run.step / AVERAGE_WARMUP_STEPS))
    current = run.network.state_dict()
    with torch.no_grad():
        for name, value in run.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)


def check(run: Run, pictures: list[Picture]) -> Report:
    """Measure the averaged weights on the check pictures."""
    detector = RawDetector(folded(run.average)).eval()

    def raw(images: Floats) -> Floats:
        with torch.inference_mode():
            output: Floats = detector(torch.from_numpy(images)).numpy()
        return output

    return measure(pictures, raw)


def train(run: Run, options: argparse.Namespace, console: Console) -> None:
    streams = _streams(options, run.step)
    pictures = [draw_picture(seed) for seed in seeds.CHECK_SEEDS]
    checkpoint: Path = options.work_dir / "checkpoint.pt"
    limit_s = float(options.minutes) * 60
    saved_s = checked_s = run.elapsed_s
    last = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=limit_s)
        while run.elapsed_s < limit_s:
            progress = run.elapsed_s / limit_s
            images, truth = next(streams[progress >= 1 - options.large_share])
            loss = train_step(run, images, truth, learning_rate(run.step, progress))
            now = time.monotonic()
            run.elapsed_s, last = run.elapsed_s + now - last, now
            bar.update(task, completed=run.elapsed_s, description=f"step {run.step} loss {loss:.3f}")
            if run.elapsed_s - saved_s > CHECKPOINT_SECONDS:
                run.save(checkpoint)
                saved_s = run.elapsed_s
                console.print(f"{run.elapsed_s:.0f} s, step {run.step}, {images.shape[2]} px, loss {loss:.3f}")
            if run.elapsed_s - checked_s > CHECK_SECONDS:
                checked_s = run.elapsed_s
                _print_check(console, run, pictures)
                last = time.monotonic()
    run.save(checkpoint)


def _streams(options: argparse.Namespace, step: int) -> dict[bool, Iterator[tuple[torch.Tensor, Truth]]]:
    folder, rng = options.work_dir / "pool", np.random.default_rng((options.seed, step))
    small, large = seeds.SMALL_TRAINING_SEEDS, seeds.LARGE_TRAINING_SEEDS
    small_pool = open_pool(folder, small.start, len(small), seeds.SMALL_SIDE_PX, options.threads)
    large_pool = open_pool(folder, large.start, len(large), seeds.LARGE_SIDE_PX, options.threads)
    return {False: batches(small_pool, SMALL_BATCH, rng), True: batches(large_pool, LARGE_BATCH, rng)}


def _print_check(console: Console, run: Run, pictures: list[Picture]) -> None:
    report = check(run, pictures)
    sizes = ", ".join(f"{name} {value:.3f}" for name, value in report.per_size.items())
    console.print(f"step {run.step}: mAP50 {report.total.map50:.4f}, mAP {report.total.map:.4f} ({sizes})")


def main() -> None:
    options = arguments()
    console = Console()
    torch.set_num_threads(options.threads)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    run = new_run(options.seed)
    if (options.work_dir / "checkpoint.pt").exists():
        run.load(options.work_dir / "checkpoint.pt")
    if options.minutes > 0:
        train(run, options, console)
    if options.onnx:
        write_onnx(run.average, options.onnx, base_metadata() | {"trained_seed": str(options.seed)})
        console.print(f"wrote {options.onnx}")


if __name__ == "__main__":
    main()
