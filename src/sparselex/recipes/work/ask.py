"""Have a language model explain a run's features."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sparselex.base.bos import bos_of
from sparselex.base.errors import UserError
from sparselex.evaluate.report import write_report
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import labels_of
from sparselex.explain.asking.subject import Subject
from sparselex.explain.asking.there import writes
from sparselex.explain.asking.typical import typical
from sparselex.explain.store import ExplanationStore
from sparselex.llm.estimate import CountingClient
from sparselex.llm.http import HTTPClient
from sparselex.llm.ledger import Ledger
from sparselex.llm.local import LocalClient
from sparselex.llm.records import Client
from sparselex.llm.speaker import Speaker
from sparselex.lm.config import ModelConfig, ModelDtype
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model
from sparselex.recipes.run import Run
from sparselex.recipes.stages.ask import LOCAL, Ask


def ask_run(run: Run, stage: Ask, *, say: Callable[[str], None] | None = None) -> None:
    """Explanations and judgements of the features that are wanted; a report that is there already takes them up. What a
    server was sent, the probe and the judge's trial with it, is told to `say`."""
    index, config = run.index, stage.part(AskConfig)
    index.check_whole("explaining")
    database, made, inputs = run.workspace.database, run.folder / Ask.makes, {"index": index.id}
    labels = labels_in(run)
    with client_of(stage, database) as client:
        subject = cache(lambda: subject_of(run))
        try:
            ask(index, config, client, database, made, inputs=inputs, subject=subject, labels=labels)
        finally:
            if say and isinstance(client, HTTPClient):
                say(_sent(client.ledger))
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _sent(ledger: Ledger) -> str:
    """What a server was sent, in one line."""
    total = ledger.total()
    tokens = f"{total.prompt_tokens:,} tokens read, {total.answer_tokens:,} written"
    spent = f", {total.usd:.4f} US dollars" if ledger.has_prices else ""
    return f"sent now: {total.requests:,} requests, {tokens}{spent}; {total.cached:,} answers were at hand"


def labels_in(run: Run) -> dict[int, str]:
    """What people call the run's latents; a run that was made elsewhere has its index alone."""
    dictionary = run.index.manifest.inputs.get("dictionary", "")
    return labels_of(run.workspace.database, run.name, dictionary)


def subject_of(run: Run) -> Subject:
    """The run's model and dictionary. Raises `UserError` for a run without them, and for one that reads two models."""
    opened = run.prompts
    bos = bos_of(opened.model.tokenizer, run.config.text.bos)
    return Subject(opened.model, opened.latents, () if bos is None else (bos,), run.within)


def estimate_run(run: Run, stage: Ask) -> Ledger:
    """What `ask_run` would ask and what that would cost, by purpose; nothing is sent or written. Raises `UserError`
    for a model of this process, which costs nothing."""
    if stage.llm == LOCAL:
        raise UserError(
            "An estimate was asked for of a model in this process, which costs nothing but time.",
            "the address of a server",
            "leave out --dry-run, or give --llm URL.",
        )
    index, database = run.index, run.workspace.database
    index.check_whole("explaining")
    # The judge is taken to be fit: its trial is counted, and what it says there is made up.
    config = stage.part(AskConfig)
    client = CountingClient(stage.server(), database, typical)
    inputs, subject = {"index": index.id}, cache(lambda: subject_of(run))
    labels = labels_in(run)
    with TemporaryDirectory(prefix="sparselex-") as folder:
        held = Path(folder)
        _bring(config, index.id, ExplanationStore(database), ExplanationStore(held / "asked.sqlite"))
        ask(
            index,
            config,
            client,
            held / "asked.sqlite",
            held / Ask.makes,
            inputs=inputs,
            subject=subject,
            labels=labels,
            trusting=True,
        )
    return client.ledger


def _bring(config: AskConfig, index_id: str, store: ExplanationStore, to: ExplanationStore) -> None:
    """Copy the explanations that are only judged."""
    if not writes(config):
        to.add(index_id, "", store.all(index_id, config.writer))


@contextmanager
def client_of(stage: Ask, database: Path) -> Iterator[Client]:
    """Whoever answers the questions of a stage. Raises `UserError` where nobody is named."""
    stage.check_named()
    if stage.llm != LOCAL:
        with HTTPClient(stage.server(), database) as server:
            yield server
        return
    with LocalClient(speaker_of(stage.llm_model, stage.llm_device, stage.llm_dtype)) as local:
        yield local


def speaker_of(name: str, device: str = "cpu", dtype: ModelDtype = "float32") -> Speaker:
    """A model that is loaded here, with its chats; its name says in what precision, unless that is float32. Raises
    `UserError` for one that Transformers does not run."""
    model = load_model(ModelConfig(name=name, device=device, dtype=dtype))
    if not isinstance(model, TransformersModel):
        raise UserError(
            f"The model {name!r} does not run in Transformers here.",
            "a model that answers in this process",
            "name another one, or the address of a server that runs it.",
        )
    tokenizer, ends = model.tokenizer, getattr(model.hf.generation_config, "eos_token_id", None)
    every = ends if isinstance(ends, list) else [ends]
    return Speaker(
        hf=model.hf,
        name=name if model.hf.dtype == torch.float32 else f"{name} in {str(model.hf.dtype).removeprefix('torch.')}",
        encode=tokenizer.encode_question,
        decode=lambda tokens: b"".join(map(tokenizer.vocabulary.token_bytes, tokens)).decode(errors="replace"),
        tokens=lambda text: tokenizer.encode_batch([text])[0],
        ends=frozenset(token for token in (*every, tokenizer.eos_id) if token is not None),
        begins=tokenizer.bos_id,
        always_begins=tokenizer.adds_bos,
    )
