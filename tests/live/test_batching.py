"""What the forge publishes, under as many callers at once as a queue takes."""

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.forge import sources

from lookonce.forge.importing import Order, import_model
from lookonce.forge.recognise import Wishes
from lookonce.inference.port import Call
from lookonce.inference.triton import Triton
from lookonce.local.environment import Environment
from lookonce.local.triton import LocalTriton, Plan, serving

CALLERS, ROUNDS = 50, 3


@pytest.fixture(scope="module")
def published(
    plan_for: Callable[..., Plan], triton_environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalTriton]:
    folder = tmp_path_factory.mktemp("published")
    file = sources.write(sources.draw("yolov8", batch="batch"), folder / "model.onnx")
    repository = folder / "repository"
    for name, max_batch in (("batched", 8), ("single", 1)):
        import_model(Order(file=file, name=name, repository=repository, max_batch=max_batch, wishes=Wishes()))
    with serving(triton_environment, plan_for(repository)) as running:
        yield running


@pytest.mark.parametrize(("name", "images"), [("batched", 1), ("batched", 5), ("batched", 8), ("single", 1)])
async def test_every_caller_of_many_is_answered(published: LocalTriton, name: str, images: int) -> None:
    triton = Triton(published.endpoint.grpc_url)
    call = Call((await triton.served(name)).card(), sources.noise(images), 30.0)
    expected = await triton.infer(call)
    for _ in range(ROUNDS):
        answers = await asyncio.gather(*(triton.infer(call) for _ in range(CALLERS)))
        assert all(np.allclose(answer, expected, atol=1e-3) for answer in answers)
    await triton.close()
