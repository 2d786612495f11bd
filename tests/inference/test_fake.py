from collections.abc import Callable

import pytest

from lookonce.card import Card
from lookonce.errors import BackendUnavailable, Overloaded
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, ServedModel


@pytest.fixture
def models(card_of: Callable[..., Card]) -> dict[str, ServedModel]:
    return {"echo": ServedModel("echo", 1, {1: card_of()})}


async def test_failures_come_once_each_and_in_turn(
    models: dict[str, ServedModel], call_of: Callable[..., Call]
) -> None:
    fake = Fake(models, failures=[Overloaded("full"), BackendUnavailable("gone")])
    for error in (Overloaded, BackendUnavailable):
        with pytest.raises(error):
            await fake.infer(call_of())
    assert (await fake.infer(call_of())).shape == (1, 5, 6)


async def test_without_a_script_nothing_is_found(models: dict[str, ServedModel], call_of: Callable[..., Call]) -> None:
    candidates = await Fake(models).infer(call_of(images=2))
    assert (candidates[..., 4] == 0).all()
    assert (candidates[..., 5] == -1).all()


async def test_every_call_is_remembered(models: dict[str, ServedModel], call_of: Callable[..., Call]) -> None:
    fake = Fake(models)
    await fake.infer(call_of(request_id="a"))
    await fake.infer(call_of(request_id="b"))
    assert [call.request_id for call in fake.calls] == ["a", "b"]
