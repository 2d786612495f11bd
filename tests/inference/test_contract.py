"""What every adapter of the port promises, whoever runs the model."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lookonce.errors import (
    BackendContractBroken,
    BackendUnavailable,
    DeadlineExceeded,
    ImageTooLarge,
    InvalidOptions,
    ServiceError,
    UnknownModel,
    UnknownVersion,
)
from lookonce.inference.port import Call, Inference

CallOf = Callable[..., Call]


def first_six(call: Call) -> np.ndarray:
    return call.images[:, 0, :2].reshape(-1, 6).astype(np.float32)


async def test_the_models_that_are_ready_are_told_in_alphabetical_order(inference: Inference) -> None:
    names = await inference.names()
    assert list(names) == sorted(set(names))
    assert {"echo", "fails", "slow", "wrong_shape", "wrong_type"} <= set(names)
    assert {"", "nowhere", ".", ".."} & set(names) == set()


async def test_each_model_that_is_told_can_be_asked_for(inference: Inference) -> None:
    for name in await inference.names():
        assert (await inference.served(name)).name == name


async def test_a_model_tells_its_card(inference: Inference, call_of: CallOf) -> None:
    served = await inference.served("echo")
    assert (served.name, served.default_version) == ("echo", 1)
    assert served.card() == served.card(1) == call_of().card


async def test_a_version_that_is_not_there_is_unknown(inference: Inference) -> None:
    served = await inference.served("echo")
    with pytest.raises(UnknownVersion, match=r"no version 7 here; it serves 1\."):
        served.card(7)


@pytest.mark.parametrize("name", ["nowhere", "..", "a/b", ""])
async def test_a_model_that_is_not_there_is_unknown(inference: Inference, name: str) -> None:
    with pytest.raises(UnknownModel):
        await inference.served(name)


@pytest.mark.parametrize("images", [1, 2, 4])
async def test_a_batch_is_answered_in_its_own_order(inference: Inference, call_of: CallOf, images: int) -> None:
    call = call_of(images=images)
    candidates = await inference.infer(call)
    assert candidates.dtype == np.float32
    assert candidates.shape == (images, 5, 6)
    assert (candidates == first_six(call)[:, None]).all()


async def test_calls_at_the_same_time_are_not_mixed_up(inference: Inference, call_of: CallOf) -> None:
    calls = [call_of(images=1 + turn % 4) for turn in range(12)]
    answers = await asyncio.gather(*map(inference.infer, calls))
    for call, answer in zip(calls, answers, strict=True):
        assert (answer[:, 0] == first_six(call)).all()


async def test_pixels_that_do_not_lie_in_a_row_are_sent_as_they_are_seen(inference: Inference, call_of: CallOf) -> None:
    straight = call_of(images=2)
    mirrored = Call(straight.card, straight.images[::-1, :, ::-1], 30.0)
    assert (await inference.infer(mirrored) == first_six(mirrored)[:, None]).all()


async def test_a_call_may_be_made_of_any_part_of_a_canvas(inference: Inference, call_of: CallOf) -> None:
    call = call_of(images=3)
    with inference.canvas(call.card, 4) as canvas:
        canvas[1:] = call.images
        assert (await inference.infer(replace(call, images=canvas[1:])) == first_six(call)[:, None]).all()
        assert (await inference.infer(replace(call, images=canvas[:0:-1])) == first_six(call)[::-1, None]).all()


async def test_canvases_lent_at_the_same_time_are_apart(inference: Inference, call_of: CallOf) -> None:
    async def ask(turn: int) -> bool:
        call = call_of(images=1 + turn % 4)
        with inference.canvas(call.card, len(call.images)) as canvas:
            canvas[:] = call.images + turn
            await asyncio.sleep(0)
            answer = await inference.infer(replace(call, images=canvas))
        return bool((answer == first_six(replace(call, images=call.images + np.uint8(turn)))[:, None]).all())

    assert all(await asyncio.gather(*map(ask, range(8))))


REFUSED: tuple[tuple[dict[str, object], type[ServiceError]], ...] = (
    ({"images": 0}, InvalidOptions),
    ({"images": 5}, ImageTooLarge),
    ({"timeout_s": 0.0}, DeadlineExceeded),
    ({"timeout_s": -1.0}, DeadlineExceeded),
    ({"name": "nowhere"}, UnknownModel),
    ({"version": 7}, UnknownVersion),
    ({"name": "slow", "timeout_s": 0.1}, DeadlineExceeded),
    ({"name": "wrong_shape"}, BackendContractBroken),
    ({"name": "wrong_type"}, BackendContractBroken),
    ({"name": "fails"}, BackendContractBroken),
)


@pytest.mark.parametrize(("asked", "error"), REFUSED, ids=str)
async def test_what_cannot_be_answered_is_the_right_error(
    inference: Inference, call_of: CallOf, asked: dict[str, object], error: type[ServiceError]
) -> None:
    with pytest.raises(error) as raised:
        await inference.infer(call_of(**asked))
    assert raised.type is error
    assert "\n" not in str(raised.value)


async def test_an_adapter_is_as_good_after_an_error_as_before(inference: Inference, call_of: CallOf) -> None:
    for name in ("wrong_shape", "fails", "nowhere"):
        with pytest.raises(ServiceError):
            await inference.infer(call_of(name))
    assert (await inference.infer(call_of())).shape == (1, 5, 6)


async def test_a_caller_that_goes_away_is_not_answered(inference: Inference, call_of: CallOf) -> None:
    waiting = asyncio.create_task(inference.infer(call_of("slow")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await inference.infer(call_of())).shape == (1, 5, 6)


async def test_a_closed_adapter_says_so(inference: Inference, call_of: CallOf) -> None:
    await inference.close()
    for asking in (inference.names(), inference.served("echo"), inference.infer(call_of())):
        with pytest.raises(BackendUnavailable):
            await asking
