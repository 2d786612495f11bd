"""The models of the live tests: each does what its name says, up to the first dash. Five rows an image."""

import os
import time

import numpy as np
import triton_python_backend_utils as triton


def echo(images: np.ndarray) -> np.ndarray:
    """Each row is the image's first six bytes, so the order of a batch can be told."""
    return images[:, 0, :2].reshape(len(images), 1, 6).astype(np.float32).repeat(5, axis=1)


def slow(images: np.ndarray) -> np.ndarray:
    time.sleep(0.5)
    return echo(images)


def wrong_shape(images: np.ndarray) -> np.ndarray:
    return echo(images)[:, 1:].copy()


def wrong_type(images: np.ndarray) -> np.ndarray:
    return echo(images).astype(np.float64)


def fails(images: np.ndarray) -> np.ndarray:
    raise RuntimeError(f"no good will come of {len(images)} images")


def dies(_images: np.ndarray) -> np.ndarray:
    os._exit(1)


BEHAVIOURS = {
    "echo": (echo, "candidates"),
    "slow": (slow, "candidates"),
    "wrong_shape": (wrong_shape, "candidates"),
    "wrong_type": (wrong_type, "candidates"),
    "wrong_name": (echo, "boxes"),
    "fails": (fails, "candidates"),
    "dies": (dies, "candidates"),
}


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.behave, self.output = BEHAVIOURS[args["model_name"].split("-")[0]]

    def execute(self, requests: list[object]) -> list[object]:
        return [self.answer(request.inputs()[0].as_numpy()) for request in requests]

    def answer(self, images: np.ndarray) -> object:
        return triton.InferenceResponse([triton.Tensor(self.output, self.behave(images))])
