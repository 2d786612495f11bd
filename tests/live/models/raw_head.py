"""A head as v8 exports it, [N,6,21]: one box in the middle, of class 1, as sure as the picture is bright."""

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        return [self.answer(request.inputs()[0].as_numpy()) for request in requests]

    def answer(self, pictures: np.ndarray) -> object:
        rows = np.zeros((len(pictures), 6, 21), pictures.dtype)
        rows[:, :4, 5] = 16, 16, 16, 8
        rows[:, 5, 5] = pictures.mean(axis=(1, 2, 3))
        return triton.InferenceResponse([triton.Tensor("output0", rows)])
