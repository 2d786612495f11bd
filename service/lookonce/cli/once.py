"""One picture through the port: `python -m lookonce.cli.once URL MODEL` draws it, asks Triton and prints the boxes."""

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table

from lookonce.card import Card
from lookonce.cli import console, shell
from lookonce.forge.pictures import draw_picture
from lookonce.inference.port import Call, Inference
from lookonce.inference.triton import Triton
from lookonce.vision.letterbox import Boxes, letterbox, restore
from lookonce.vision.nms import Suppression, suppress

SIZE_WH = (960, 720)
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one version saw: rows `x1 y1 x2 y2 score class_id` in the picture's own pixels."""

    card: Card
    rows: Boxes
    took_ms: float


async def look(inference: Inference, name: str, seed: int) -> Look:
    """Have the model look at the picture drawn from this seed. The time is that of the second of two calls."""
    card = (await inference.served(name)).card()
    tensor, placement = letterbox(draw_picture(seed, SIZE_WH).image_rgb, card.geometry)
    call = Call(card, tensor[None], TIMEOUT_S)
    await inference.infer(call)
    begun = time.perf_counter()
    candidates = await inference.infer(call)
    took_ms = (time.perf_counter() - begun) * 1000
    rows = suppress(candidates[0], Suppression(card.confidence, card.iou, needed=card.needs_nms)).copy()
    rows[:, :4] = restore(rows[:, :4], placement)
    return Look(card, rows, took_ms)


def show(seen: Look) -> None:
    title = f"{seen.card.name} version {seen.card.version}: {len(seen.rows)} objects in {seen.took_ms:.0f} ms"
    console.out.print(f"[bold]{title}[/]", highlight=False)
    table = Table("label", "score", "x1 y1 x2 y2")
    for *box, score, class_id in seen.rows.tolist():
        table.add_row(_label(seen.card, int(class_id)), f"{score:.2f}", " ".join(f"{edge:.0f}" for edge in box))
    console.out.print(table)


def _label(card: Card, class_id: int) -> str:
    return card.labels[class_id] if class_id < len(card.labels) else str(class_id)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def once(
    url: Annotated[str, typer.Argument(help="Triton's gRPC address, host:port.")],
    model: Annotated[str, typer.Argument(help="The name of a model it serves.")],
    seed: Annotated[int, typer.Option(help="Which picture to draw.")] = 1,
) -> None:
    """Draw a picture, send it to a model and print the boxes that come back."""
    show(asyncio.run(_asked(url, model, seed)))


async def _asked(url: str, model: str, seed: int) -> Look:
    triton = Triton(url)
    try:
        return await look(triton, model, seed)
    finally:
        await triton.close()


if __name__ == "__main__":
    shell.run(app)
