"""A published version, a cache, and stand-ins for NVIDIA's programs that are found as the real ones are."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lookonce.card import Card, Precision, Target
from lookonce.forge.engine import Order
from lookonce.forge.repository import publish
from lookonce.forge.staging import staging
from lookonce.vision.letterbox import Geometry

HERE = Path(__file__).resolve().parent.parent
SIDE, CELL, MAX_BATCH = 64, 8, 20
CELLS = (SIDE // CELL) ** 2


@dataclass(frozen=True)
class Shop:
    """Everything under one folder, and the programs as a person would have them on PATH."""

    root: Path
    images: Path

    @property
    def repository(self) -> Path:
        return self.root / "gpu"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    @property
    def version(self) -> Path:
        return self.repository / "cells" / "1"

    def order(self, **changes: object) -> Order:
        plain = Order(repository=self.repository, name="cells", cache=self.cache, images=self.images)
        return replace(plain, **changes)

    def trtexec_that(self, **behaviour: object) -> None:
        (self.root / "trtexec.json").write_text(json.dumps(behaviour))

    def gpus(self, *lines: str) -> None:
        (self.root / "gpus.json").write_text(json.dumps(lines))

    def calls(self, option: str = "") -> list[dict[str, Any]]:
        log = self.root / "trtexec.calls"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [call for call in calls if any(argument.startswith(option) for argument in call["arguments"])]

    def variables(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}

    def command(self, *arguments: str) -> list[str]:
        order = "--repository", str(self.repository), "--cache", str(self.cache), "--images", str(self.images)
        return [str(Path(sys.executable).with_name("lookonce")), "model", "engine", "cells", *order, *arguments]

    def lookonce(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, env=self.variables(), capture_output=True, text=True, timeout=120, check=False)

    def kept(self) -> list[str]:
        """What the cache holds besides logs, timings and its lock."""
        names = [path.name for path in self.cache.iterdir()] if self.cache.exists() else []
        return sorted(name for name in names if name not in {".lock", "logs"} and not name.startswith("timing"))


def files_under(folder: Path) -> dict[str, str]:
    """Every file with its digest, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(7)
    for number in range(21):
        colours = random.integers(0, 256, (SIDE // CELL, SIDE // CELL, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), np.kron(colours, np.ones((CELL, CELL, 1), np.uint8)))
    return folder


@pytest.fixture
def shop(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path, images)
    shop.programs.mkdir()
    _program(shop, "trtexec", "stand_in_trtexec.py", f"STAND_IN={tmp_path / 'trtexec.json'}")
    _program(shop, "nvidia-smi", "stand_in_nvidia_smi.py", f"STAND_IN_GPUS={tmp_path / 'gpus.json'}")
    shop.trtexec_that(version="101100")
    shop.gpus("8.6, NVIDIA RTX A5000")
    _publish(shop)
    monkeypatch.setenv("PATH", shop.variables()["PATH"])
    return shop


def _program(shop: Shop, name: str, script: str, variable: str) -> None:
    program = shop.programs / name
    program.write_text(f'#!/bin/sh\n{variable} exec {sys.executable} {HERE / script} "$@"\n')
    program.chmod(0o755)


def _publish(shop: Shop) -> None:
    for name, max_batch in (("cells", MAX_BATCH), ("single", 1)):
        with staging(shop.repository, name) as folder:
            onnx.save(cells_graph("n" if max_batch > 1 else 1), folder / "model.onnx")
            digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
            publish(shop.repository, replace(cells_card(digest), name=name, max_batch=max_batch), folder)


def cells_card(digest: str) -> Card:
    return Card(
        name="cells",
        version=1,
        labels=("red", "green", "blue"),
        geometry=Geometry(SIDE, SIDE),
        candidates=CELLS,
        max_batch=MAX_BATCH,
        needs_nms=True,
        layout="yolov8",
        precision=Precision.FP32,
        target=Target.TENSORRT,
        exporter="a test",
        created="2026-11-21T00:00:00+00:00",
        source_sha256=digest,
        served_sha256=digest,
    )


def cells_graph(batch: str | int) -> onnx.ModelProto:
    """A detector that finds each cell of a chequered picture: how bright it is, and in which colour."""
    grid = np.stack(np.meshgrid(np.arange(SIDE // CELL), np.arange(SIDE // CELL)), -1).reshape(-1, 2) * CELL
    constants = {
        "boxes": np.concatenate([grid, grid + CELL], 1).astype(np.float32),
        "full": np.float32(255),
        "flat": np.array([0, 3, CELLS]),
        "k": np.array([CELLS]),
        "last": np.array([2]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "full"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["chw"], ["pooled"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Reshape", ["pooled", "flat"], ["cells"]),
        helper.make_node("ReduceMax", ["cells"], ["scores"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["cells"], ["classes"], axis=1, keepdims=0),
        helper.make_node("TopK", ["scores", "k"], ["best", "order"], axis=1),
        helper.make_node("Gather", ["boxes", "order"], ["xyxy"], axis=0),
        helper.make_node("GatherElements", ["classes", "order"], ["ids"], axis=1),
        helper.make_node("Cast", ["ids"], ["float_ids"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["best", "last"], ["best_column"]),
        helper.make_node("Unsqueeze", ["float_ids", "last"], ["id_column"]),
        helper.make_node("Concat", ["xyxy", "best_column", "id_column"], ["candidates"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("candidates", TensorProto.FLOAT, [batch, CELLS, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(name="files_under")
def _files_under() -> Callable[[Path], dict[str, str]]:
    return files_under


@pytest.fixture
def untouched(shop: Shop, files_under: Callable[[Path], dict[str, str]]) -> Iterator[None]:
    """Whatever the test does, the repository is as it was and the cache holds no plan and no scrap of one."""
    before = files_under(shop.repository)
    yield
    assert files_under(shop.repository) == before
    assert shop.kept() == []
