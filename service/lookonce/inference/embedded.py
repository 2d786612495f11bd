"""ONNX Runtime in this process, on the folder that Triton would serve; for machines without Triton."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from lookonce.card import INPUT, OUTPUT, Card
from lookonce.errors import BackendContractBroken, BackendUnavailable, DeadlineExceeded, UnknownModel
from lookonce.inference.port import Call, Candidates, Canvas, ServedModel, checked, fresh_canvas, sendable
from lookonce.inference.served import config_from_text, served_model

PROVIDERS: Final = ["CPUExecutionProvider"]


@dataclass(slots=True)
class Embedded:
    """The models of `repository`, run one call at a time on all cores."""

    repository: Path
    _sessions: dict[tuple[str, int], ort.InferenceSession] = field(default_factory=dict)
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "embedded"))
    _is_closed: bool = False

    async def names(self) -> tuple[str, ...]:
        self._refuse_when_closed()
        configs = await asyncio.to_thread(lambda: sorted(self.repository.glob("[!.]*/config.pbtxt")))
        return tuple(config.parent.name for config in configs)

    async def served(self, name: str) -> ServedModel:
        self._refuse_when_closed()
        return await asyncio.to_thread(self._served, name)

    def canvas(self, card: Card, images: int) -> Canvas:
        return fresh_canvas(card, images)

    async def infer(self, call: Call) -> Candidates:
        self._refuse_when_closed()
        run = ort.RunOptions()
        answer = asyncio.get_running_loop().run_in_executor(self._worker, self._run, sendable(call), run)
        try:
            async with asyncio.timeout(call.timeout_s):
                return await answer
        except TimeoutError as error:
            late = f"model {call.card.name} did not answer within {call.timeout_s:g} s; allow more or try later."
            raise DeadlineExceeded(late) from error
        finally:
            run.terminate = True

    async def close(self) -> None:
        self._is_closed = True
        await asyncio.to_thread(self._worker.shutdown)

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise BackendUnavailable("the embedded runtime was closed.")

    def _served(self, name: str) -> ServedModel:
        config = self.repository / name / "config.pbtxt"
        if not name or Path(name).name != name or not config.is_file():
            raise UnknownModel(f"there is no model {name} in {self.repository}; publish it or correct the name.")
        return served_model(config_from_text(config.read_text(), name))

    def _run(self, call: Call, run: ort.RunOptions) -> Candidates:
        session = self._session(call.card)
        try:
            (answer,) = session.run([OUTPUT], {INPUT: call.images}, run)
        except Exception as error:
            message = f"model {call.card.name} version {call.card.version} failed: {_said(error)}"
            raise BackendContractBroken(message) from error
        return checked(np.asarray(answer), call)

    def _session(self, card: Card) -> ort.InferenceSession:
        key = card.name, card.version
        if key not in self._sessions:
            self._served(card.name).card(card.version)
            self._sessions[key] = _open(self.repository / card.name / str(card.version) / "model.onnx")
        return self._sessions[key]


def _open(path: Path) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(path, providers=PROVIDERS)
    except Exception as error:
        message = f"{path} cannot be run here: {_said(error)}; import the model again."
        raise BackendContractBroken(message) from error


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
