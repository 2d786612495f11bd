"""The gate of a key file, which is read again whenever it changes."""

import asyncio
import hmac
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from lookonce.access.keys import Client, clients_from_json, content_of, hash_of, is_readable_by_all
from lookonce.access.rates import Meter
from lookonce.errors import Forbidden, SettingsRefused, Unauthenticated

WHO_ASKS: Final = "a key that is known here is needed; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."

Told = Callable[[str, Mapping[str, object]], None]


@dataclass(slots=True)
class Account:
    """A client as the file has it now, and what it has used, whichever of its keys it asks with."""

    client: Client
    meter: Meter


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whoever asks with one key of an account."""

    account: Account
    hash: str = field(repr=False)

    @property
    def name(self) -> str:
        return self.account.client.name

    def refuse_model(self, model: str) -> None:
        models = self.account.client.models
        if models is not None and model not in models:
            raise Forbidden(f"this key may not use model {model}; it may use {', '.join(models)}.")

    def count(self, images: int) -> None:
        """A key that was revoked while its stream was open ends here."""
        if self.hash not in self.account.client.keys:
            raise Unauthenticated(WHO_ASKS)
        self.account.meter.take(images)

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self.account.meter.turn():
            yield


class Keyring:
    """Knows the clients in `file`. Raises SettingsRefused where that cannot be read; later it keeps what it knew."""

    def __init__(self, file: Path, tell: Told, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._tell, self._clock = file, tell, clock
        self._accounts: dict[str, Account] = {}
        self._holders: tuple[KeyHolder, ...] = ()
        self._content = b""
        self._complaint = ""
        self._take(content_of(file))

    def caller(self, key: str | None) -> KeyHolder:
        """Every hash is compared to the end, so that time tells nothing of where a key stands or how near one is."""
        if not key:
            raise Unauthenticated(WHO_ASKS)
        given, found = hash_of(key), None
        for holder in self._holders:
            if hmac.compare_digest(holder.hash, given):
                found = holder
        if found is None:
            raise Unauthenticated(WHO_ASKS)
        return found

    async def keep(self, every_s: float = 1.0) -> None:
        """Look whether the file changed, again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Look once. Contents are compared, for Kubernetes swaps links; a broken file is told of once."""
        try:
            content = await asyncio.to_thread(content_of, self._file)
            if content != self._content:
                self._take(content)
                self._tell("keys read", {"file": str(self._file), "clients": sorted(self._accounts)})
            self._complaint = ""
        except SettingsRefused as error:
            if str(error) != self._complaint:
                self._tell("keys not read", {"why": str(error), "instead": "the keys of before still hold."})
            self._complaint = str(error)

    def _take(self, content: bytes) -> None:
        self._admit(clients_from_json(content, self._file))
        self._content = content
        if is_readable_by_all(self._file):
            self._tell("keys readable by all", {"file": str(self._file), "mend": "chmod o-r"})

    def _admit(self, clients: Sequence[Client]) -> None:
        """Who stays keeps what it has used; the keys of who is gone end with it."""
        before = self._accounts
        self._accounts = {client.name: self._account(client) for client in clients}
        for name in before.keys() - self._accounts.keys():
            before[name].client = replace(before[name].client, keys=())
        self._holders = tuple(
            KeyHolder(account, each) for account in self._accounts.values() for each in account.client.keys
        )

    def _account(self, client: Client) -> Account:
        account = self._accounts.get(client.name)
        if account is None:
            return Account(client, Meter(client.allowance, self._clock))
        account.client = client
        account.meter.allow(client.allowance)
        return account
