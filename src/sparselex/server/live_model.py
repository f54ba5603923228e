"""What the live model's process runs: runs opened when they are first asked of, one question after the other."""

import contextlib
import os
import time
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from sparselex.base.artifacts import MANIFEST
from sparselex.base.errors import UserError, no_memory
from sparselex.base.workspace import Workspace
from sparselex.features.pieces import passage
from sparselex.recipes.prompt_records import Steered
from sparselex.recipes.run import Run
from sparselex.recipes.work.steer import amounts
from sparselex.server.live_records import (
    AblateFound,
    AblateQuestion,
    Answer,
    Found,
    PinQuestion,
    Question,
    SteerQuestion,
    TextFound,
    TextQuestion,
)
from sparselex.server.stamps import Stamp, stamp

MOST_OPEN = 4
"""Runs that are held open; the one that was longest not asked of goes first. Runs that read one model share it."""

NICE = 10
"""How far it steps back behind the server, which readers wait for."""


class Stopped(BaseException):
    """The question is dropped. No `Exception`: nobody on the way out may take it for an error of his own."""


class _Opened(NamedTuple):
    run: Run
    stamps: tuple[Stamp, ...]


class LiveModel:
    """The models and dictionaries of a workspace's runs, and what can be asked of them."""

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self._runs: OrderedDict[str, _Opened] = OrderedDict()
        self._models: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()

    def answer(self, question: Question) -> Answer:
        """What becomes of a question. Only `Stopped` is raised."""
        began = time.perf_counter()
        try:
            found = self._found(question)
        except UserError as error:
            return Answer("refused", f"{error.given} Expected: {error.expected}.", error.todo)
        except Exception as error:  # a door: the reader is told, the process goes on
            if (short := no_memory(error)) is not None:
                return Answer("refused", short.given, "ask for less: fewer tokens, a shorter text.")
            traceback.print_exc()
            return Answer("fault", "This is a fault in sparselex.", "see the server's output for what went wrong.")
        return Answer("answered", seconds=time.perf_counter() - began, found=found)

    def _found(self, question: Question) -> Found:
        run = self._opened(question.run)
        match question:
            case TextQuestion():
                return _text(run, question)
            case SteerQuestion():
                return _steer(run, question)
            case PinQuestion():
                return run.pinned(**{name: value for name, value in question if name != "run"})
            case AblateQuestion():
                return _ablate(run, question)
        return None

    def _opened(self, name: str) -> Run:
        """A run, opened again where a stage has replaced something."""
        files = (
            self._workspace.card_file(name),
            *(self._folder(name) / kind / MANIFEST for kind in ("dictionary", "index")),
        )
        stamps = tuple(map(stamp, files))
        there = self._runs.get(name)
        if there is None or there.stamps != stamps:
            self._runs.pop(name, None)
            self._runs[name] = _Opened(self._open(name), stamps)
            while len(self._runs) > MOST_OPEN:
                self._runs.popitem(last=False)
        self._runs.move_to_end(name)
        return self._runs[name].run

    def _open(self, name: str) -> Run:
        run = Run.open(self._workspace, name)
        key = str((run.config.model.to_json(), run.config.second_model and run.config.second_model.to_json()))
        run.model = self._models.setdefault(key, run.model) if key not in self._models else self._models[key]
        _ = run.prompts  # refused here what cannot be asked
        return run

    def _folder(self, name: str) -> Path:
        return self._workspace.run(name)


def answer_all(pipe: Connection, stopped: Any, workspace: Path) -> None:
    """Answer until nobody can ask any more. `stopped` is the number of the question that is to be dropped."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)
    model, asked = LiveModel(Workspace(workspace)), _Asked()
    register_module_forward_pre_hook(_checks(asked, stopped))
    while True:
        try:
            asked.number, question = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = model.answer(question)
        except Stopped:
            answer = Answer("late")
        pipe.send(answer)


class _Asked:
    """Which question is being answered."""

    number = 0


def _checks(asked: _Asked, stopped: Any) -> Callable[..., None]:
    """What is looked at before each module of a model computes: all that takes long is made of such steps."""

    def check(*_: Any) -> None:
        if stopped.value == asked.number:
            raise Stopped

    return check


def _text(run: Run, question: TextQuestion) -> TextFound:
    row, codes, counted = run.prompts.codes(question.text)
    n_active = codes.indptr.diff().cpu()
    places = torch.arange(len(n_active)).repeat_interleave(n_active)
    shown = counted.cpu()[places]
    numbers = lambda values, kind: values.cpu()[shown].numpy().astype(kind)
    return TextFound(
        tokens=row[0].tolist(),
        counted=counted.tolist(),
        places=numbers(places, np.int32),
        latents=numbers(codes.indices, np.int32),
        values=numbers(codes.values, np.float32),
    )


def _steer(run: Run, question: SteerQuestion) -> Steered:
    return run.prompts.steered(
        question.prompt,
        amounts(run, question.latents, None, question.strengths, question.prompt),
        kl=question.kl,
        n_new=question.n_new,
        temperature=question.temperature,
        seed=question.seed,
    )


def _ablate(run: Run, question: AblateQuestion) -> AblateFound:
    row = run.tokens(question.prompt) if question.position is None else _row(run, question.position)
    ablated = run.prompts.ablated(row, question.latent, to=question.to, seed=question.seed)
    return AblateFound(tokens=row[0].tolist(), ablated=ablated)


def _row(run: Run, position: int) -> torch.Tensor:
    """All of a row of the corpus up to the end of the document there: what the model reads with it."""
    corpus = run.index.corpus
    last = int(passage(corpus, position, whole=False).positions[-1])
    row, end = divmod(last, corpus.n_ctx)
    return torch.from_numpy(np.asarray(corpus.tokens[row, : end + 1]).astype(np.int64))[None]
