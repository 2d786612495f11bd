"""`lookonce key`: who may ask a gateway that asks for keys."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from lookonce.access.keys import LIVE, Client, changing, clients_from_json, content_of, hash_of, new_key
from lookonce.cli import console
from lookonce.errors import SettingsRefused

app = typer.Typer(no_args_is_help=True, help="Make, rotate, revoke and list the keys of clients.")

Name: TypeAlias = Annotated[str, typer.Argument(help="The client's name, as logs and metrics will show it.")]
File: TypeAlias = Annotated[
    Path, typer.Option(envvar="LOOKONCE_KEYS__FILE", help="The key file, which holds hashes alone.")
]


class Which(StrEnum):
    OLDEST = "oldest"
    NEWEST = "newest"


@app.command()
def new(
    name: Name,
    file: File,
    images_per_s: Annotated[float | None, typer.Option(help="Images a second; without it as many as come.")] = None,
    burst: Annotated[int | None, typer.Option(min=1, help="Images at once; without it one second's worth.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests and streams open at once.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model it may use; without any, all of them.")] = None,
) -> None:
    """Let a client in. Its key is printed once, and is nowhere else."""
    key = new_key()
    with changing(file) as clients:
        if any(client.name == name for client in clients):
            raise SettingsRefused(f"there is a client {name} already; `lookonce key rotate {name}` gives it a new key.")
        models = tuple(model) if model else None
        clients.append(Client(name, (hash_of(key),), images_per_s, burst, concurrency, models))
    _hand_over(key, f"{name} may ask with this key; it cannot be shown again.")


@app.command()
def rotate(name: Name, file: File) -> None:
    """Give a client a second key, so that it can change over; of two, the older one ends."""
    key = new_key()
    with changing(file) as clients:
        place = _place_of(name, clients, file)
        before = clients[place].keys
        clients[place] = replace(clients[place], keys=(*before, hash_of(key))[-LIVE:])
    ended = "its oldest key has ended, the other one" if len(before) == LIVE else "its other key"
    _hand_over(key, f"{name} may ask with this key; {ended} holds until the next rotation. It cannot be shown again.")


@app.command()
def revoke(
    name: Name,
    file: File,
    which: Annotated[Which | None, typer.Option(help="One of its two keys; without it, all of them.")] = None,
) -> None:
    """End a client's keys at once, and the client with its last one."""
    with changing(file) as clients:
        place = _place_of(name, clients, file)
        client = clients.pop(place)
        kept = {None: (), Which.OLDEST: client.keys[1:], Which.NEWEST: client.keys[:-1]}[which]
        if kept:
            clients.insert(place, replace(client, keys=kept))
    typer.echo(f"The {which} key of {name} has ended." if kept else f"{name} has no key any more and may not ask.")


@app.command("list")
def list_(file: File) -> None:
    """The clients, how many keys each has and what it may have."""
    table = Table(box=None)
    for heading in ("name", "keys", "images/s", "burst", "concurrency", "models"):
        table.add_column(heading, overflow="fold")
    for client in clients_from_json(content_of(file), file):
        table.add_row(*map(Text, _row(client)))
    if table.row_count:
        console.out.print(table, highlight=False)
    else:
        typer.echo(f"No client in {file} yet; `lookonce key new` lets one in.", err=True)


def _hand_over(key: str, words: str) -> None:
    """The key alone on stdout, so that a script can take it from there."""
    typer.echo(words, err=True)
    typer.echo(key)


def _place_of(name: str, clients: Sequence[Client], file: Path) -> int:
    names = [client.name for client in clients]
    if name not in names:
        known = ", ".join(names) or "nobody"
        raise SettingsRefused(f"there is no client {name} in {file}, which knows {known}; correct the name.")
    return names.index(name)


def _row(client: Client) -> tuple[str, ...]:
    allowance = client.allowance
    rate = "any" if allowance.images_per_s is None else f"{allowance.images_per_s:g}"
    burst = "any" if allowance.images_per_s is None else str(allowance.bucket)
    concurrency = "any" if allowance.concurrency is None else str(allowance.concurrency)
    return client.name, str(len(client.keys)), rate, burst, concurrency, ", ".join(client.models or ("all",))
