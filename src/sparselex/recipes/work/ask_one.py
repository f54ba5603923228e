"""Have a language model explain one of a run's features, as a reader of its page asks for it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sparselex.explain.asking.alone import Alone, ask_alone, kept_as
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.asking.there import writes
from sparselex.explain.asking.typical import typical
from sparselex.explain.store import ExplanationStore
from sparselex.llm.estimate import CountingClient
from sparselex.llm.ledger import Ledger
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.run import Run
from sparselex.recipes.stages.ask import Ask
from sparselex.recipes.work.ask import client_of, labels_in, subject_of


def stage_of(run: RunFolder, server: Ask, writer: str, judges: Sequence[str]) -> Ask:
    """How a run's features are asked about by this writer and these judges: by the options of the run where it was
    explained before, else the defaults; the language model is the `server`'s. Raises `UserError` for a name that there
    is not."""
    kept = run.config.stages.get(Ask.verb) or {}
    reached = {name: getattr(server, name) for name in server.model_fields_set - AskConfig.model_fields.keys()}
    own = {} if kept.get("writer", "llm") == writer else {"stored_as": ""}
    return Ask.parse(
        {**kept, **own, **reached, "writer": writer, "judges": tuple(judges)}, f"the options of {Ask.verb}"
    )


def ask_one(run: Run, stage: Ask, latent: int) -> Alone:
    """The explanation of one latent and what judges say of it, written into the workspace. Raises like `ask_alone`."""
    run.index.check_whole("explaining")
    database, config = run.workspace.database, _config(run, stage)
    with client_of(stage, database) as client:
        return ask_alone(
            run.index,
            config,
            client,
            database,
            latent,
            subject=cache(lambda: subject_of(run)),
            labels=labels_in(run),
        )


def estimate_one(run: Run, stage: Ask, latent: int) -> Ledger:
    """What `ask_one` would ask of a server and what that would cost; nothing is sent or written."""
    run.index.check_whole("explaining")
    database, config = run.workspace.database, _config(run, stage)
    client = CountingClient(stage.server(), database, typical)
    with TemporaryDirectory(prefix="sparselex-") as folder:
        aside = Path(folder) / "asked.sqlite"
        _bring(run, config, stage.llm_model, latent, aside)
        ask_alone(
            run.index,
            config,
            client,
            aside,
            latent,
            subject=cache(lambda: subject_of(run)),
            labels=labels_in(run),
            trusting=True,
        )
    return client.ledger


def _config(run: Run, stage: Ask) -> AskConfig:
    abouts = AskedStore(run.workspace.database).about(run.index.id)
    return kept_as(stage.part(AskConfig), abouts, stage.llm_model)


def _bring(run: Run, config: AskConfig, model: str, latent: int, aside: Path) -> None:
    """Copy what of this explainer is there: of a latent that is written anew all but its own."""
    index_id, store = run.index.id, ExplanationStore(run.workspace.database)
    written = config.writing_id(model) if writes(config) else ""
    there = [one for one in store.all(index_id, config.name) if one.latent != latent or not written]
    ExplanationStore(aside).add(index_id, written, there)
    for about in AskedStore(run.workspace.database).about(index_id):
        AskedStore(aside).tell(index_id, about)
