"""What explaining and scoring takes of a run's latents before a scripted judge, and how sure what is measured is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from benchmarks.scripted import ALARM, MISS, ScriptedServer, Truth, Window
from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Jackknife, jackknife, jackknives
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawn_latents import chosen
from sparselex.explain.asking.judges.simulation import correlation
from sparselex.explain.asking.judging import Counts, Item, Judged
from sparselex.explain.asking.known import Known
from sparselex.explain.asking.known_words import Words
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.embedding.config import PACKAGED
from sparselex.explain.embedding.encoder import encoder_folder, tokenizer_of
from sparselex.explain.evidence import Evidence
from sparselex.explain.records import Judgement
from sparselex.explain.store import ExplanationStore
from sparselex.llm.records import Capabilities
from sparselex.lm.gguf import dequantised
from sparselex.lm.named import local
from sparselex.recipes.run import Run
from tests.support.chat import chat_server, no_completions

MEASURES = {"detection": "balanced_accuracy", "fuzzing": "balanced_accuracy", "embedding": "auroc"}

AS_PUBLISHED = {"window": 32, "active": 50, "silent": 50, "hard": 0}
"""As many windows of each kind, none of them easily mistaken."""

N_EACH = 50
"""Windows of each kind of the reference."""

NAME = "bench"
"""Under which explanations are kept."""


class Cost(NamedTuple):
    """What one latent takes by one scorer, and how much that says."""

    tokens: float
    variance: float = 1.0
    """Square of the standard error of what was measured."""

    reference: float = 1.0
    """That of 100 independent windows with the same errors."""


class Bench:
    """A run of which some latents are explained and scored, by a server that knows what is true.

    Args:
        run: the run, to be changed.
        n: how many latents.
    """

    def __init__(self, run: Run, n: int):
        self.run, self.index, self.tokenizer, self.counted_by = run, run.index, *_tokenizer(run)
        often = self.index.table["train_n_active"]
        least = next((one for one in (500, 100) if (often >= one).sum() >= 2 * n), 10)
        self.least, self.n, self.truth = least, n, None

    def ask(self, judges: Sequence[str], *, continues: bool = True, **more: Any) -> ScriptedServer:
        """Take the stage; afterwards the workspace has what it found."""
        given = {"latents": self.n, "min_active": self.least, "stored_as": NAME, "null_share": 0.0, "check": 0}
        given |= AS_PUBLISHED | {"judges": tuple(judges)} | more
        config = AskConfig(**given)
        self.latents = chosen(self.index, config, None)
        self.truth = Truth(self.index, self.latents, config)
        scripted = ScriptedServer(self.truth, self.tokenizer)
        complete = scripted.complete if continues else no_completions
        with chat_server(scripted.answer, complete=complete) as server:
            found = self.run.do("explain-llm", llm=server.url, llm_model="scripted", **given)
        assert found.n_explained == len(self.latents) and not found.unfit, found
        return scripted

    def tokens(self, judge: str) -> dict[int, float]:
        """By latent what was read and written for one judge, as the server counts; of '' for the explanation."""
        rows = AskedStore(self.run.workspace.database).of_index(self.index.id, NAME)
        return {row.latent: row.n_prompt_tokens + row.n_answer_tokens for row in rows if row.judge == judge}

    def window(self) -> Figure:
        """How the windows, which are cut by the run's own tokenizer, are counted."""
        assert self.truth is not None
        texts = {text for judge, _, text in self.truth.fits if judge == "detection"}
        each = [len(one.ids) for one in self.tokenizer.encode_batch(sorted(texts), add_special_tokens=False)]
        words = f"tokens of a window of 32 as {self.counted_by} counts them"
        return mean_figure("tokens/window", np.array(each, dtype=float), words, over="windows", unit="tokens")

    def costs(self, judge: str) -> dict[int, Cost]:
        """The same with its standard error and the reference's; without latents of which there is none."""
        spent = self.tokens(judge) if judge != "embedding" else self.encoded()
        errors = {latent: self._errors(judge, latent) for latent in spent}
        return {latent: Cost(spent[latent], *of) for latent, of in errors.items() if np.isfinite(of).all() and all(of)}

    def encoded(self) -> dict[int, float]:
        """By latent the tokens that the sentence encoder reads: its windows and its explanation."""
        count, asked = _encoder_counts(), AskedStore(self.run.workspace.database)
        said = {one.latent: one.text for one in ExplanationStore(self.run.workspace.database).all(self.index.id, NAME)}
        return {latent: count([said[latent], *self._texts(asked, latent)]) for latent in self.latents}

    def encoded_in_trial(self) -> float:
        """Tokens that the sentence encoder reads before it scores anything."""
        assert self.truth is not None
        count, read = _encoder_counts(), list[str]()

        def weigh(description: str, items: Sequence[Item], can: Capabilities) -> Any:
            yield from ()
            read.extend([description, *(item.text for item in items)])
            return Judged(items, np.zeros(len(items)), absolute=False), ""

        config = self.truth.config.model_copy(update={"check": AskConfig().check})
        words = Words(Evidence(self.index, config.seed).validation, config)
        for talk in Known(words, "embedding", weigh, votes=False).talks(Capabilities()):
            next(talk, None)
        return count(read)

    def _texts(self, asked: AskedStore, latent: int) -> list[str]:
        seen = asked.seen(self.index.id, latent)
        return [one.text for one in seen if (one.explainer, one.judge) == (NAME, "embedding")]

    def _errors(self, judge: str, latent: int) -> tuple[float, float]:
        """Squared standard errors: ours, and the reference's."""
        assert self.truth is not None
        reported = {
            one.metric: one.value
            for one in ExplanationStore(self.run.workspace.database).scores(self.index.id, latent=latent)
            if (one.explainer, one.scorer) == (NAME, judge)
        }
        if judge == "simulation":
            # A window in whose place a token straddles what stands before it is not read.
            unread = {row.position for row in self._rows(judge, latent) if row.said is None}
            ours, theirs = correlated([one for one in self.truth.windows[latent] if one.position not in unread])
            measure = "correlation"
        else:
            measure, (found, documents) = MEASURES[judge], self._judged(judge, latent)
            ours, theirs = (_measured(found, units, measure) for units in (documents, np.arange(len(documents))))
        # What is looked at here is what was reported.
        assert np.isclose(ours.value, reported[measure], atol=1e-3), (judge, latent, ours.value, reported[measure])
        if measure == "balanced_accuracy":
            return ours.se**2, (MISS * (1 - MISS) + ALARM * (1 - ALARM)) / N_EACH / 4
        return ours.se**2, theirs.se**2

    def _rows(self, judge: str, latent: int) -> list[Judgement]:
        every = ExplanationStore(self.run.workspace.database).judgements(self.index.id, latent)
        return [one for one in every if (one.explainer, one.scorer) == (NAME, judge)]

    def _judged(self, judge: str, latent: int) -> tuple[Judged, np.ndarray]:
        """What was said of the latent's windows, and the document of each."""
        assert self.truth is not None
        database, test, windows = self.run.workspace.database, self.truth.drawing.test, self.truth.drawing.windows
        kinds = {
            one.position: one.kind
            for one in AskedStore(database).seen(self.index.id, latent)
            if (one.explainer, one.judge) == (NAME, judge)
        }
        rows = self._rows(judge, latent)
        items = [Item(0, kinds[row.position], False, row.position, row.expected, "") for row in rows]
        said = np.array([np.nan if row.said is None else row.said for row in rows])
        ranks = np.searchsorted(test.tokens.positions, [row.position for row in rows])
        return Judged(items, said), windows.documents[windows.of(ranks)]


def _measured(found: Judged, units: np.ndarray, measure: str) -> Jackknife:
    counts = Counts(found, units, 0.5)
    return jackknives(counts.per_document, counts.measures, counts.sizes)[measure]


def correlated(windows: Sequence[Window]) -> tuple[Jackknife, Jackknife]:
    """The correlation over all tokens, with what it owes to documents and to windows."""
    sums = np.array([_sums(one) for one in windows]).reshape(-1, 6)
    documents = np.unique([one.document for one in windows], return_inverse=True)[1]
    by_document = np.zeros((documents.max(initial=0) + 1, 6))
    np.add.at(by_document, documents, sums)
    return jackknife(by_document, correlation, by_document[:, 0]), jackknife(sums, correlation, sums[:, 0])


def _sums(one: Window) -> list[float]:
    p, t = one.digits, one.values
    return [len(p), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum()]


def _tokenizer(run: Run) -> tuple[Tokenizer, str]:
    """By what is counted: a chat model's tokenizer, where one is installed."""
    try:
        path = local("smollm2")
        assert path is not None
        return Tokenizer.from_file(str(dequantised(path) / "tokenizer.json")), "SmolLM2"
    except (UserError, OSError):  # not installed, or not readable here
        folder = local(run.config.model)
        return Tokenizer.from_file(str((folder or Path(run.config.model)) / "tokenizer.json")), "the run's own"


def _encoder_counts() -> Callable[[Sequence[str]], float]:
    tokenizer = tokenizer_of(encoder_folder(PACKAGED), 512)
    return lambda texts: float(sum(len(one.ids) for one in tokenizer.encode_batch(list(texts))))
