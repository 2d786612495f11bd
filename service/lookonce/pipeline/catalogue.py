"""Which models are served right now, as Triton last said, and whether they answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from lookonce.card import Card
from lookonce.errors import (
    BackendContractBroken,
    BackendUnavailable,
    DeadlineExceeded,
    ServiceError,
    TryLater,
    UnknownModel,
)
from lookonce.inference.port import Call, Candidates, Inference, ServedModel
from lookonce.pipeline.stages import labelled

WARM_UP_TIMEOUT_S: Final = 30.0
MOST_LOOKS: Final = 4
"""So many models are looked at side by side: one that is slow to start does not keep the others waiting."""

NOT_YET: Final = "it is being tried for the first time."

Told = Callable[[str, Mapping[str, object]], None]


def _nobody(_event: str, _facts: Mapping[str, object]) -> None: ...


@dataclass(slots=True)
class Catalogue:
    """Knows the models of `inference`, once it has `looked`; `default` is the one that is meant when none is named."""

    inference: Inference
    default: str | None = None
    wanted: tuple[str, ...] = ()
    tell: Told = _nobody
    models: Mapping[str, ServedModel] = field(default_factory=dict)
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    _troubles: dict[str, Mapping[str, str]] = field(default_factory=lambda: _away("it was not asked yet."))
    _warm: set[tuple[str, int, str]] = field(default_factory=set)

    @property
    def troubles(self) -> dict[str, str]:
        """What is wrong with Triton, with a model or with one of its versions."""
        return {what: why for troubles in self._troubles.values() for what, why in troubles.items()}

    def model(self, name: str | None) -> ServedModel:
        wanted = name or self.default or self._only()
        if wanted in self.models:
            return self.models[wanted]
        troubles = self.troubles
        if wanted in troubles:
            raise BackendUnavailable(f"model {wanted} is not ready: {troubles[wanted]}")
        if "triton" in troubles:
            raise BackendUnavailable(troubles["triton"])
        raise UnknownModel(f"there is no model {wanted} here; {self._those_there_are()}.")

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why we are not ready: nothing while we are. What nobody asked for may fail, as long as one model is well."""
        troubles, needed = self.troubles, {"triton", *self.wanted, *([self.default] if self.default else [])}
        absent = {name: "it is not served." for name in needed - {"triton"} if name not in self.models}
        one_is_well = not self.models.keys() <= troubles.keys()
        held_up = {name: why for name, why in troubles.items() if name in needed or not one_is_well}
        return absent | held_up or ({} if self.models else {"models": "none is served."})

    async def keep(self, every_s: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(every_s)

    async def refresh(self) -> None:
        """Look once. A Triton that is away for a moment does not make us forget what it serves."""
        before = self.troubles if self.looked.is_set() else {}
        try:
            names = await self.inference.names()
        except ServiceError as error:
            self._troubles = _away(str(error))
        else:
            await self._look_at(names)
        now = self.troubles
        for name in now.keys() - before.keys():
            self.tell("not ready", {"what": name, "why": now[name]})
        for name in before.keys() - now.keys():
            self.tell("ready", {"what": name})
        self.looked.set()

    async def _look_at(self, names: Sequence[str]) -> None:
        """Who is gone is forgotten at once; who is new, or was out of sight, is in trouble until it was looked at."""
        unseen = {name: {name: NOT_YET} for name in names if "triton" in self._troubles or name not in self.models}
        self.models = {name: self.models[name] for name in names if name in self.models}
        self._troubles = unseen | {name: self._troubles[name] for name in names if name in self._troubles}
        turns = asyncio.Semaphore(MOST_LOOKS)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._look(name, turns))

    async def _look(self, name: str, turns: asyncio.Semaphore) -> None:
        """A model that cannot be asked about for a moment stays as it was known."""
        troubles = dict[str, str]()
        try:
            async with turns:
                found = {name: await self._ready(name, troubles)}
        except ServiceError as error:
            troubles[name] = str(error)
            stays = isinstance(error, TryLater | DeadlineExceeded) and name in self.models
            found = {name: self.models[name]} if stays else {}
        others = {other: model for other, model in self.models.items() if other != name}
        self.models = dict(sorted((others | found).items()))
        self._troubles[name] = troubles

    async def _ready(self, name: str, troubles: dict[str, str]) -> ServedModel:
        """The model with those of its versions that answer well; the default one must."""
        model = await self.inference.served(name)
        cards = dict(model.cards)
        for version, card in model.cards.items():
            try:
                await self._warm_up_once(card)
            except ServiceError as error:
                if version == model.default_version:
                    raise
                troubles[f"{name} version {version}"] = str(error)
                del cards[version]
        return replace(model, cards=cards)

    async def _warm_up_once(self, card: Card) -> None:
        key = card.name, card.version, card.served_sha256
        if key not in self._warm:
            await warm_up(self.inference, card)
            self._warm.add(key)

    def _only(self) -> str:
        troubles = self.troubles
        untried = [name for name, why in troubles.items() if why == NOT_YET and name not in self.models]
        if len(self.models) == 1 and not untried:
            return next(iter(self.models))
        if "triton" in troubles:
            raise BackendUnavailable(troubles["triton"])
        if untried:
            raise BackendUnavailable("the models are being tried for the first time; name one, or try again shortly.")
        if not self.models:
            raise BackendUnavailable("no model is ready yet; try again shortly.")
        raise UnknownModel(f"no model was named and there is no default one; {self._those_there_are()}.")

    def _those_there_are(self) -> str:
        return f"served are {', '.join(sorted(self.models))}" if self.models else "none is served"


def _away(why: str) -> dict[str, Mapping[str, str]]:
    return {"triton": {"triton": why}}


async def warm_up(inference: Inference, card: Card) -> None:
    """Have a version look at an empty picture, in a batch of one and in its largest, and hold both to the contract."""
    with inference.canvas(card, 1) as empty:
        empty[:] = card.geometry.pad_value
        for images in sorted({1, card.max_batch}):
            batch = np.broadcast_to(empty, (images, *empty.shape[1:]))
            for rows in labelled(await inference.infer(Call(card, batch, WARM_UP_TIMEOUT_S)), card):
                _refuse_unsorted(rows, card)


def _refuse_unsorted(rows: Candidates, card: Card) -> None:
    if (rows[1:, 4] > rows[:-1, 4]).any():
        raise BackendContractBroken(
            f"model {card.name} version {card.version} does not sort its candidates by score; import it again."
        )
