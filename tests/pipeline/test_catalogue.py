"""What is known of the models that are served, while Triton and they come and go."""

import asyncio
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from tests.waiting import until

from lookonce.card import Card
from lookonce.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    Overloaded,
    ServiceError,
    UnknownModel,
    UnknownVersion,
)
from lookonce.inference.fake import Fake, nothing
from lookonce.inference.port import Call, Candidates, ServedModel
from lookonce.pipeline.catalogue import Catalogue

FakeOf = Callable[..., Fake]
CardOf = Callable[..., Card]


async def looked(fake: Fake, **knobs: object) -> Catalogue:
    catalogue = Catalogue(fake, **knobs)
    await catalogue.refresh()
    return catalogue


def test_before_the_first_look_nothing_is_ready(fake_of: FakeOf) -> None:
    catalogue = Catalogue(fake_of())
    assert catalogue.reasons == {"triton": "it was not asked yet."}
    with pytest.raises(BackendUnavailable, match="not asked yet"):
        catalogue.model(None)
    with pytest.raises(BackendUnavailable, match="not asked yet"):
        catalogue.model("echo")


async def test_a_model_that_answers_well_is_ready(fake_of: FakeOf) -> None:
    catalogue = await looked(fake_of())
    assert not catalogue.reasons
    assert catalogue.model(None).name == catalogue.model("echo").name == "echo"


async def test_a_triton_without_models_is_not_ready(card_of: CardOf) -> None:
    catalogue = await looked(Fake({}))
    assert catalogue.reasons == {"models": "none is served."}
    with pytest.raises(BackendUnavailable, match="no model is ready yet"):
        catalogue.model(None)
    with pytest.raises(UnknownModel, match="there is no model echo here; none is served"):
        catalogue.model("echo")


async def test_of_several_models_one_must_be_named(fake_of: FakeOf) -> None:
    catalogue = await looked(fake_of("b", "a"))
    with pytest.raises(UnknownModel, match=r"no model was named and there is no default one; served are a, b\."):
        catalogue.model(None)
    assert catalogue.model("b").name == "b"


async def test_the_default_model_is_the_one_of_the_settings(fake_of: FakeOf) -> None:
    catalogue = await looked(fake_of("a", "b"), default="b")
    assert catalogue.model(None).name == "b"


async def test_without_its_default_model_nobody_is_ready(fake_of: FakeOf) -> None:
    catalogue = await looked(fake_of("a"), default="b", wanted=("a", "c"))
    assert catalogue.reasons == {"b": "it is not served.", "c": "it is not served."}
    assert catalogue.model("a").name == "a"


async def test_an_unknown_model_is_told_those_there_are(fake_of: FakeOf) -> None:
    catalogue = await looked(fake_of("a"))
    with pytest.raises(UnknownModel, match=r"there is no model b here; served are a\."):
        catalogue.model("b")


async def test_a_triton_that_is_away_is_not_ready_and_what_it_served_is_not_forgotten(fake_of: FakeOf) -> None:
    fake = fake_of()
    catalogue = await looked(fake)
    fake.is_closed = True
    await catalogue.refresh()
    assert catalogue.reasons == {"triton": "the connection was closed."}
    assert catalogue.model(None).name == "echo"
    fake.is_closed = False
    await catalogue.refresh()
    assert not catalogue.reasons


async def test_a_triton_that_comes_later_is_joined(fake_of: FakeOf) -> None:
    fake = fake_of(is_closed=True)
    catalogue = await looked(fake)
    with pytest.raises(BackendUnavailable, match="the connection was closed"):
        catalogue.model("echo")
    fake.is_closed = False
    await catalogue.refresh()
    assert catalogue.model("echo").name == "echo"


async def test_it_keeps_looking_until_told_to_stop(fake_of: FakeOf) -> None:
    fake = fake_of(is_closed=True)
    catalogue = Catalogue(fake)
    keeping = asyncio.ensure_future(catalogue.keep(0.001))
    await until(lambda: "closed" in str(catalogue.reasons))
    fake.is_closed = False
    await until(lambda: not catalogue.reasons)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_a_model_that_is_gone_is_unknown(fake_of: FakeOf, card_of: CardOf) -> None:
    fake = fake_of("a", "b")
    catalogue = await looked(fake)
    fake.models = {"b": fake.models["b"]}
    await catalogue.refresh()
    with pytest.raises(UnknownModel, match="there is no model a here"):
        catalogue.model("a")
    assert not catalogue.reasons


async def test_a_warm_up_looks_in_a_batch_of_one_and_in_the_largest_and_only_once(fake_of: FakeOf) -> None:
    fake = fake_of()
    catalogue = await looked(fake)
    await catalogue.refresh()
    assert [len(call.images) for call in fake.calls] == [1, 4]
    assert {int(pixel) for call in fake.calls for pixel in np.unique(call.images)} == {114}


async def test_a_new_file_under_an_old_version_is_warmed_up_again(fake_of: FakeOf, card_of: CardOf) -> None:
    fake = fake_of()
    catalogue = await looked(fake)
    fake.models = {"echo": ServedModel("echo", 1, {1: card_of(served_sha256="1" * 64)})}
    await catalogue.refresh()
    assert len(fake.calls) == 4


def unsorted(call: Call) -> Candidates:
    rows = nothing(call)
    rows[:, 0, 4], rows[:, 1, 4] = 0.1, 0.2
    return rows


def unlabelled(call: Call) -> Candidates:
    rows = nothing(call)
    rows[:, 3, 5] = 2
    return rows


def unshaped(call: Call) -> Candidates:
    return nothing(call)[:, :2]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (unsorted, "echo version 1 does not sort its candidates by score; import it again."),
        (unlabelled, "echo version 1 found a class that its card has no label for; import it again."),
        (unshaped, "answered float32 [1, 2, 6] instead of float32 [1, 5, 6]"),
    ],
)
async def test_a_model_that_breaks_the_contract_is_not_ready(
    script: Callable[[Call], Candidates], why: str, fake_of: FakeOf
) -> None:
    catalogue = await looked(fake_of(script=script))
    assert why in catalogue.reasons["echo"]
    with pytest.raises(BackendUnavailable, match="model echo is not ready: model echo version 1") as told:
        catalogue.model("echo")
    assert told.value.retry_after_s > 0


async def test_rows_that_hold_no_number_break_nothing(fake_of: FakeOf) -> None:
    def overflowing(call: Call) -> Candidates:
        rows = nothing(call)
        rows[:, 1] = np.nan
        return rows

    assert not (await looked(fake_of(script=overflowing))).reasons


async def test_a_broken_model_that_nobody_asked_for_holds_up_nothing(fake_of: FakeOf) -> None:
    def one_is_broken(call: Call) -> Candidates:
        return unsorted(call) if call.card.name == "b" else nothing(call)

    fake = fake_of("a", "b", script=one_is_broken)
    assert not (await looked(fake)).reasons
    assert set((await looked(fake, wanted=("b",))).reasons) == {"b"}
    assert set((await looked(fake, default="b")).reasons) == {"b"}


async def test_a_broken_version_beside_a_good_default_one_is_not_served(card_of: CardOf) -> None:
    def second_is_broken(call: Call) -> Candidates:
        return unsorted(call) if call.card.version == 2 else nothing(call)

    cards = {version: card_of(version=version) for version in (1, 2)}
    catalogue = await looked(Fake({"echo": ServedModel("echo", 1, cards)}, second_is_broken), wanted=("echo",))
    assert not catalogue.reasons
    assert "does not sort" in catalogue.troubles["echo version 2"]
    with pytest.raises(UnknownVersion, match="it serves 1"):
        catalogue.model("echo").card(2)


async def test_the_only_model_that_cannot_be_asked_about_makes_us_unready_and_is_still_served(
    card_of: CardOf,
) -> None:
    triton = Failing({"echo": ServedModel("echo", 1, {1: card_of()})})
    catalogue = await looked(triton)
    triton.failing = {"echo"}
    await catalogue.refresh()
    assert catalogue.reasons == {"echo": "Triton cannot be asked."}
    assert catalogue.model(None).name == "echo"
    triton.failing = set()
    await catalogue.refresh()
    assert not catalogue.reasons


async def test_one_model_that_is_well_is_enough(card_of: CardOf) -> None:
    triton = Failing({name: ServedModel(name, 1, {1: card_of(name)}) for name in ("a", "b")})
    catalogue = await looked(triton)
    triton.failing = {"a"}
    await catalogue.refresh()
    assert catalogue.troubles
    assert not catalogue.reasons
    triton.failing = {"a", "b"}
    await catalogue.refresh()
    assert set(catalogue.reasons) == {"a", "b"}


class Failing(Fake):
    """A Triton that cannot be asked about some of its models."""

    failing: set[str] = set()  # noqa: RUF012

    async def served(self, name: str) -> ServedModel:
        if name in self.failing:
            raise BackendUnavailable("Triton cannot be asked.")
        return await super().served(name)


@pytest.mark.parametrize("slow", ["a", "c"])
async def test_a_model_that_is_slow_to_start_keeps_no_other_waiting(fake_of: FakeOf, slow: str) -> None:
    catalogue = Catalogue(fake_of("a", "b", "c", latency_s={slow: 20.0}))
    looking = asyncio.ensure_future(catalogue.refresh())
    await until(lambda: len(catalogue.models) == 2)
    assert not catalogue.reasons
    with pytest.raises(BackendUnavailable, match=f"model {slow} is not ready: it is being tried for the first time"):
        catalogue.model(slow)
    assert catalogue.model("b").name == "b"
    looking.cancel()


async def test_until_all_are_tried_nobody_guesses_which_is_the_only_one(fake_of: FakeOf) -> None:
    catalogue = Catalogue(fake_of("a", "b", latency_s={"b": 20.0}))
    looking = asyncio.ensure_future(catalogue.refresh())
    await until(lambda: bool(catalogue.models))
    with pytest.raises(BackendUnavailable, match="name one, or try again"):
        catalogue.model(None)
    looking.cancel()


async def test_models_that_vanished_are_gone_at_once(fake_of: FakeOf, card_of: CardOf) -> None:
    fake = fake_of("a", "b")
    catalogue = await looked(fake)
    fake.models, fake.latency_s = {"c": ServedModel("c", 1, {1: card_of("c")})}, {"c": 20.0}
    looking = asyncio.ensure_future(catalogue.refresh())
    await until(lambda: not catalogue.models)
    assert catalogue.reasons == {"c": "it is being tried for the first time."}
    with pytest.raises(UnknownModel, match="there is no model a here"):
        catalogue.model("a")
    looking.cancel()


async def test_what_was_well_stays_so_while_it_is_looked_at_again(fake_of: FakeOf, card_of: CardOf) -> None:
    fake = fake_of("a")
    catalogue = await looked(fake)
    fake.models, fake.latency_s = {"a": ServedModel("a", 1, {1: card_of("a", served_sha256="1" * 64)})}, {"a": 20.0}
    fake.calls.clear()
    looking = asyncio.ensure_future(catalogue.refresh())
    await until(lambda: bool(fake.calls))
    assert not catalogue.reasons
    assert catalogue.model(None).card().served_sha256 == "0" * 64
    looking.cancel()


async def test_a_triton_that_comes_back_is_ready_once_a_model_was_looked_at(fake_of: FakeOf, card_of: CardOf) -> None:
    fake = fake_of("a")
    catalogue = await looked(fake)
    fake.is_closed = True
    await catalogue.refresh()
    fake.is_closed, fake.failures = False, iter([BackendUnavailable("not yet.")])
    fake.models = {"a": ServedModel("a", 1, {1: card_of("a", served_sha256="1" * 64)})}
    await catalogue.refresh()
    assert catalogue.reasons == {"a": "not yet."}
    await catalogue.refresh()
    assert not catalogue.reasons


async def test_the_largest_batch_of_a_warm_up_takes_no_memory_of_its_own(fake_of: FakeOf) -> None:
    fake = fake_of(card={"max_batch": 4096})
    await looked(fake)
    assert len(fake.calls[-1].images) == 4096
    assert fake.calls[-1].images.base is not None
    assert fake.calls[-1].images.strides[0] == 0


@pytest.mark.parametrize(
    "failure", [DeadlineExceeded("too late."), Overloaded("too many."), BackendUnavailable("gone.")]
)
async def test_a_new_version_that_cannot_be_tried_yet_leaves_the_model_as_it_was(
    failure: ServiceError, fake_of: FakeOf, card_of: CardOf
) -> None:
    fake = fake_of()
    catalogue = await looked(fake)
    fake.models = {"echo": ServedModel("echo", 2, {1: card_of(), 2: card_of(version=2)})}
    fake.failures = iter([failure])
    await catalogue.refresh()
    assert catalogue.model("echo").default_version == 1
    assert "echo" in catalogue.troubles
    await catalogue.refresh()
    assert catalogue.model("echo").default_version == 2


async def test_what_changes_is_told_once(fake_of: FakeOf) -> None:
    told = list[tuple[str, Mapping[str, object]]]()
    fake = fake_of()
    catalogue = Catalogue(fake, tell=lambda event, facts: told.append((event, facts)))
    for is_closed in (True, True, False, False, True):
        fake.is_closed = is_closed
        await catalogue.refresh()
    away = "not ready", {"what": "triton", "why": "the connection was closed."}
    assert told[-1] == away
    assert told[-2] == ("ready", {"what": "triton"})
    assert len(told) <= 3
