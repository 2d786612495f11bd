"""Measures the raw ONNX export on pictures that training never saw.

    PYTHONPATH=service python tools/shapes/evaluate.py tools/shapes/shapes.onnx --json report.json --sheet sheet.png

Post-processing: best label per point, score > 0.001, class-wise NMS at IoU 0.7, at most 300 detections a picture.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
import seeds
from measure import Detections, Floats, Report, detections, measure, network_input
from metadata import write_metadata
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lookonce.forge.pictures import LABELS, Picture, draw_picture

SHEET_COLUMNS: Final = 4
SHEET_ROWS: Final = 2
SHEET_TILE_PX: Final = 320
SHEET_LOWEST_SCORE: Final = 0.35
WARMUP_RUNS: Final = 5
COLORS_RGB: Final = ((230, 60, 60), (40, 120, 255), (20, 160, 70), (250, 150, 0), (150, 60, 220), (0, 170, 180))


@dataclass(slots=True)
class OneCoreDetector:
    """onnxruntime on one thread, with the time of every run."""

    path: Path
    durations_ms: list[float] = field(default_factory=list)
    session: onnxruntime.InferenceSession = field(init=False)

    def __post_init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Floats) -> Floats:
        start = time.perf_counter()
        output: Floats = self.session.run(["output0"], {"images": images})[0]
        self.durations_ms.append((time.perf_counter() - start) * 1e3)
        return output


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--first-seed", type=int, default=seeds.TEST_SEEDS.start)
    parser.add_argument("--count", type=int, default=len(seeds.TEST_SEEDS))
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--stamp", action="store_true", help="write map50 and map into the model's metadata")
    return parser.parse_args()


def report_table(report: Report, title: str) -> Table:
    table = Table(title=title)
    table.add_column("objects")
    table.add_column("mAP@0.5", justify="right")
    table.add_column("mAP@0.5:0.95", justify="right")
    for label, precision in report.per_label.items():
        table.add_row(label, f"{precision.map50:.4f}", f"{precision.map:.4f}")
    table.add_section()
    for size, value in report.per_size.items():
        table.add_row(size, "", f"{value:.4f}")
    table.add_section()
    table.add_row("all", f"{report.total.map50:.4f}", f"{report.total.map:.4f}")
    return table


def contact_sheet(pictures: list[Picture], detector: OneCoreDetector) -> NDArray[np.uint8]:
    tiles = []
    for picture in pictures:
        found = detections(detector(network_input(picture))[0], SHEET_LOWEST_SCORE)
        tiles.append(_tile(picture.image_rgb, found))
    rows = [np.hstack(tiles[start : start + SHEET_COLUMNS]) for start in range(0, len(tiles), SHEET_COLUMNS)]
    return np.vstack(rows)


def _tile(image_rgb: NDArray[np.uint8], found: Detections) -> NDArray[np.uint8]:
    scale = SHEET_TILE_PX / image_rgb.shape[0]
    tile = cv2.resize(image_rgb, (SHEET_TILE_PX, SHEET_TILE_PX), interpolation=cv2.INTER_AREA)
    for box, score, class_id in zip(found.boxes_xyxy * scale, found.scores, found.class_ids, strict=True):
        color = COLORS_RGB[class_id]
        left, top, right, bottom = (round(float(edge)) for edge in box)
        cv2.rectangle(tile, (left, top), (right, bottom), color, 1, cv2.LINE_AA)
        caption = f"{LABELS[class_id]} {score:.2f}"
        (width, height), _ = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, 0.35, 1)
        left, base = min(left, SHEET_TILE_PX - width), max(top - 3, height + 1)
        cv2.rectangle(tile, (left, base - height - 1), (left + width, base + 3), color, -1)
        cv2.putText(tile, caption, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1, cv2.LINE_AA)
    return np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255).astype(np.uint8)


def summary(report: Report, detector: OneCoreDetector, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": options.model.name,
        "model_bytes": options.model.stat().st_size,
        "picture_seeds": [options.first_seed, options.first_seed + options.count - 1],
        "median_ms_one_core": round(statistics.median(detector.durations_ms), 2),
        "onnxruntime": onnxruntime.__version__,
        **asdict(report),
    }


def main() -> None:
    options = arguments()
    console = Console()
    detector = OneCoreDetector(options.model)
    pictures = [draw_picture(options.first_seed + offset) for offset in range(options.count)]
    for _ in range(WARMUP_RUNS):
        detector(network_input(pictures[0]))
    detector.durations_ms.clear()
    report = measure(pictures, detector)
    numbers = summary(report, detector, options)
    console.print(
        report_table(report, f"{options.model.name}: {report.object_count} objects in {options.count} pictures")
    )
    console.print(f"{numbers['model_bytes']} bytes, {numbers['median_ms_one_core']} ms a picture on one core (median)")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")
    if options.sheet:
        sheet = contact_sheet(pictures[: SHEET_COLUMNS * SHEET_ROWS], detector)
        cv2.imwrite(str(options.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if options.stamp:
        precision = {"map50": f"{report.total.map50:.4f}", "map": f"{report.total.map:.4f}"}
        write_metadata(options.model, precision)


if __name__ == "__main__":
    main()
