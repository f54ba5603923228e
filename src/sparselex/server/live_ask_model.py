"""What the process runs that asks a language model about one feature: one question of a reader, then it ends."""

import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from sparselex.base.errors import UserError, no_memory
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run
from sparselex.recipes.stages.ask import LOCAL, Ask
from sparselex.recipes.work.ask_one import ask_one, estimate_one, stage_of
from sparselex.server.live_ask_records import Came, Cost, Job, LanguageModel


def answer(pipe: Connection, workspace: Path, model: LanguageModel, job: Job) -> None:
    """Send what becomes of it, whatever that is."""
    try:
        came = _came(Run.open(Workspace(workspace), job.run), model, job)
    except UserError as error:
        came = Came("failed", message=f"{error.given} Expected: {error.expected}.", todo=error.todo)
    except Exception as error:  # a door: the reader is told
        short = no_memory(error)
        if short is None:
            traceback.print_exc()
        message = short.given if short else "This is a fault in sparselex."
        came = Came("failed", message=message, todo=short.todo if short else "see the server's output for what it is.")
    pipe.send(came)


def _came(run: Run, model: LanguageModel, job: Job) -> Came:
    server = Ask(llm=model.url, llm_model=model.model, key_env=model.key_env)
    stage = stage_of(run, server, job.writer, job.judges)
    if job.only_counts:
        return Came("counted", cost=None if model.url == LOCAL else _cost(run, stage, job.latent))
    found = ask_one(run, stage, job.latent)
    if found.status == "explained":
        return Came("done", explainer=found.explainer, message=found.reason)
    said = {"abstained": "Nothing is said of it", "failed": "It could not be explained"}[found.status]
    return Came("failed", message=f"{said}: {found.reason}", todo="ask again, or ask another model.")


def _cost(run: Run, stage: Ask, latent: int) -> Cost:
    total = estimate_one(run, stage, latent).total()
    return Cost(
        n_requests=total.requests,
        n_tokens=total.prompt_tokens + total.answer_tokens,
        n_cached=total.cached,
    )
