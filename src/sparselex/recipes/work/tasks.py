"""Put dictionaries to a task."""

from pathlib import Path

import numpy as np
import torch

from sparselex.base.bos import Bos, bos_of
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.occlusion.config import occlusion_config
from sparselex.evaluate.occlusion.occlude import occlude
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.general import General, Rows
from sparselex.evaluate.supervised.records import TaskResult
from sparselex.evaluate.supervised.rows import OfRun
from sparselex.evaluate.supervised.walk import put_to_task
from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.run import Run
from sparselex.recipes.task_lm import TaskModelConfig, mixture_rows, train_task_model
from sparselex.recipes.tasks import TOY, TOY_MODEL, TaskOptions
from sparselex.tasks.file_task import FileTask
from sparselex.tasks.making import make_task
from sparselex.tasks.records import Task
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.identity import text_id
from sparselex.text.sources import load_documents

_N_CTX = 128
"""Tokens in a row, where the model reads as many."""

_TIMES = 10
"""How many times as much text is tokenized as is read: rows lie far apart then."""


def put(workspace: Workspace, options: TaskOptions, to: Path) -> TaskResult:
    """Load the model, making the task's own where that is meant, and put dictionaries to the task."""
    model = _model(workspace, options)
    task = make_task(options.task, model.tokenizer)
    runs = [_of_run(Run.open(workspace, name), model, options.bos) for name in options.runs]
    general = _general(options, model, to)
    result = put_to_task(model, task, _config(options, task), to, runs=runs, general=general)
    if options.occlusion:
        occlude(model, task, occlusion_config(_config(options, task)), to)
    return result


def _config(options: TaskOptions, task: Task) -> TaskConfig:
    """What was asked for; of a file no more prompts than it has."""
    config = options.part(TaskConfig)
    if not isinstance(task, FileTask):
        return config
    n = task.n_prompts
    there = {"n_fit": min(config.n_fit, n["fit"]), "n_test": min(config.n_test, n["evaluate"])}
    return config.model_copy(update=there)


def _general(options: TaskOptions, model: SubjectModel, to: Path) -> General:
    """Text of all kinds: of the small transformer what it was trained on, which is all that it knows."""
    if options.model == TOY:
        return General(TOY, "what it was trained on", lambda n_tokens: mixture_rows(TaskModelConfig(), n_tokens))
    source = options.general_text
    if options.general:
        next(iter(load_documents(source)))  # refuses what is no text before anything is made
    rows = lambda n_tokens: _rows_of(source, model, n_tokens, options.bos, to / "text")
    return General(text_id(source), source, rows)


def _rows_of(source: str, model: SubjectModel, n_tokens: int, bos: Bos, to: Path) -> Rows:
    """Rows from all over the beginning of a text, which is tokenized once."""
    n_ctx = min(_N_CTX, model.n_ctx)
    config = CorpusConfig(source=source, n_ctx=n_ctx, n_tokens=_TIMES * n_tokens, shares=(1.0, 0.0, 0.0), bos=bos)
    corpus = build_corpus(load_documents(source), model.tokenizer, config, to, text_id=text_id(source))
    n_rows = min(corpus.n_rows, -(-n_tokens // (corpus.n_ctx - 1)) + 1)
    rows = np.linspace(0, corpus.n_rows - 1, n_rows).astype(np.int64)
    return Rows(torch.from_numpy(corpus.tokens[rows].astype(np.int64)), torch.from_numpy(corpus.text_mask(rows)))


def _of_run(run: Run, model: SubjectModel, bos: Bos) -> OfRun:
    """The dictionary of a run. Raises `UserError` unless it is an autoencoder of one site of this model, made of texts
    that begin as prompts do."""
    hooks, own = run.sites.hooks, run.model
    if own.id != model.id or run.sites.target or len(hooks) != 1:
        what = f"reads {run.sites}" if own.id == model.id else f"is of {own.name}"
        raise UserError(
            f"Run {run.name!r} {what}.",
            f"an autoencoder of one site of {model.name}, the model that does the task",
            "name other runs, or the model that they are of by --model.",
        )
    if bos_of(model.tokenizer, run.config.text.bos) != bos_of(model.tokenizer, bos):
        raise UserError(
            f"The texts of run {run.name!r} were made with bos {run.config.text.bos!r}, prompts with {bos!r}.",
            "texts that begin alike: what stands first changes what is at every token",
            f"give --bos {run.config.text.bos}.",
        )
    return OfRun(run.name, hooks[0], run.dictionary, run.manifest("dictionary").id)


def _model(workspace: Workspace, options: TaskOptions) -> SubjectModel:
    if options.model != TOY:
        return load_model(options.of_model())
    if options.task != "ioi":
        raise UserError(
            f"The task {options.task!r} has no small transformer of its own.",
            "a model that does it",
            "name one with --model, such as smollm2.",
        )
    folder = train_task_model(TaskModelConfig(), workspace.path / "tasks" / TOY_MODEL)
    return load_model(options.of_model().model_copy(update={"name": str(folder)}))
