"""Which models are served right now, as Triton last said, and whether they answer."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
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
    troubles: Mapping[str, str] = field(default_factory=lambda: {"triton": "it was not asked yet."})
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    _warm: set[tuple[str, int, str]] = field(default_factory=set)

    def model(self, name: str | None) -> ServedModel:
        wanted = name or self.default or self._only()
        if wanted in self.models:
            return self.models[wanted]
        if wanted in self.troubles:
            raise BackendUnavailable(f"model {wanted} is not ready: {self.troubles[wanted]}")
        if "triton" in self.troubles:
            raise BackendUnavailable(self.troubles["triton"])
        raise UnknownModel(f"there is no model {wanted} here; {self._those_there_are()}.")

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why we are not ready: nothing while we are. What nobody asked for may fail."""
        needed = {"triton", *self.wanted, *([self.default] if self.default else [])}
        absent = {name: "it is not served." for name in needed - {"triton"} if name not in self.models}
        held_up = {name: why for name, why in self.troubles.items() if name in needed or not self.models}
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
            self.troubles = {"triton": str(error)}
        else:
            await self._look_at(names)
        for name in self.troubles.keys() - before.keys():
            self.tell("not ready", {"what": name, "why": self.troubles[name]})
        for name in before.keys() - self.troubles.keys():
            self.tell("ready", {"what": name})
        self.looked.set()

    async def _look_at(self, names: Iterable[str]) -> None:
        """A model that cannot be asked about for a moment stays as it was known."""
        models, troubles = dict[str, ServedModel](), dict[str, str]()
        for name in names:
            try:
                models[name] = await self._ready(name, troubles)
            except ServiceError as error:
                troubles[name] = str(error)
                if name in self.models and isinstance(error, TryLater | DeadlineExceeded):
                    models[name] = self.models[name]
        self.models, self.troubles = models, troubles

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
        if len(self.models) == 1:
            return next(iter(self.models))
        if "triton" in self.troubles:
            raise BackendUnavailable(self.troubles["triton"])
        if not self.models:
            raise BackendUnavailable("no model is ready yet; try again shortly.")
        raise UnknownModel(f"no model was named and there is no default one; {self._those_there_are()}.")

    def _those_there_are(self) -> str:
        return f"served are {', '.join(sorted(self.models))}" if self.models else "none is served"


async def warm_up(inference: Inference, card: Card) -> None:
    """Have a version look at an empty picture, in a batch of one and in its largest, and hold both to the contract."""
    for images in sorted({1, card.max_batch}):
        shape = images, card.geometry.height, card.geometry.width, 3
        call = Call(card, np.full(shape, card.geometry.pad_value, np.uint8), WARM_UP_TIMEOUT_S)
        for rows in labelled(await inference.infer(call), card):
            _refuse_unsorted(rows, card)


def _refuse_unsorted(rows: Candidates, card: Card) -> None:
    if (rows[1:, 4] > rows[:-1, 4]).any():
        raise BackendContractBroken(
            f"model {card.name} version {card.version} does not sort its candidates by score; import it again."
        )
