"""Opened artifacts of a workspace, shared by all pages and opened again when a stage has replaced them."""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.records import SweepReport
from sparselex.base.artifacts import MANIFEST, Manifest, read_json
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.workspace import MAIN, Workspace
from sparselex.evaluate.records import Evaluation
from sparselex.evaluate.report import Report, evaluation_of
from sparselex.explain.records import Entry as Said
from sparselex.explain.records import Explanation, Score
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.features.tokens import TokenTexts
from sparselex.text.corpus import TokenCorpus

T = TypeVar("T", bound=Config)


class NoSuchPage(UserError):
    """The address names nothing that is here. Any other `UserError` means that something here is damaged."""


class Entry(NamedTuple):
    """What lists say of one latent's explanation."""

    status: str
    title: str
    f1: float | None
    null_f1: float | None


UNEXPLAINED = Entry("unexplained", "", None, None)


class OpenIndex:
    """A feature index with what lists and searches need of it, worked out once."""

    def __init__(self, index: FeatureIndex):
        self.index = index
        self.texts = TokenTexts(index.corpus.vocabulary)

    @cached_property
    def top_tokens(self) -> NDArray[np.int64]:
        """`[d_sae]`, token of each latent's largest training activation; -1 for one never active there."""
        positions = np.asarray(self.index.top_positions)
        tokens = self.index.corpus.tokens.reshape(-1)[positions.clip(min=0)]
        return np.where(positions >= 0, tokens.astype(np.int64), -1)

    @cached_property
    def token_texts(self) -> list[str]:
        """Every token of the vocabulary as text, lower case."""
        vocabulary = self.index.corpus.vocabulary
        return [vocabulary.text(token).lower() for token in range(len(vocabulary))]

    def with_top_token(self, words: str) -> NDArray[np.int64]:
        """Latents whose top token contains `words`, upper and lower case alike."""
        tokens = [token for token, text in enumerate(self.token_texts) if words.lower() in text]
        return np.flatnonzero(np.isin(self.top_tokens, tokens))


class Reading:
    """The read side of one workspace. Nothing here writes."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._store = ExplanationStore(workspace.database)
        self._indexes: dict[str, tuple[tuple, OpenIndex]] = {}
        self._entries: dict[str, tuple[tuple, dict[int, Entry]]] = {}

    def check_run(self, run: str) -> None:
        """Raises `NoSuchPage` if the workspace has no run of that name."""
        runs = self.workspace.runs()
        if run not in runs:
            raise NoSuchPage(
                f"There is no run {run!r} in this workspace.",
                "one of " + ", ".join(runs) if runs else "a run; this workspace has none yet",
                "go back to the overview.",
            )

    def index(self, run: str) -> OpenIndex:
        """The feature index of a run. Raises `NoSuchPage` if it has none, `UserError` if it is damaged."""
        self.check_run(run)
        path = self.workspace.run(run) / "index"
        stamp = (_stamp(path / MANIFEST), _stamp(self.workspace.corpus_of(run) / MANIFEST))
        if stamp[0] is None:
            raise NoSuchPage(
                f"Run {run!r} has no feature index yet.",
                "a run that has been indexed",
                f"run `sparselex index {self.workspace.path.name} --run {run}`.",
            )
        if run not in self._indexes or self._indexes[run][0] != stamp:
            self._indexes[run] = (stamp, OpenIndex(FeatureIndex(path, TokenCorpus(self.workspace.corpus_of(run)))))
        return self._indexes[run][1]

    def explanation(self, index: FeatureIndex, latent: int) -> Explanation | None:
        """What is said of a latent, or None."""
        return next(iter(self._store.of_latent(index.id, latent)), None)

    def scores(self, index: FeatureIndex, explanation: Explanation) -> list[Score]:
        """The scores of an explanation."""
        return self._store.scores(index.id, latent=explanation.latent, explainer=explanation.explainer)

    def definitions(self, scores: list[Score]) -> dict[str, str]:
        """What each measure among the scores is."""
        known = self._store.definitions()
        return {score.metric: known[score.scorer][score.metric] for score in scores}

    def entries(self, index: FeatureIndex) -> dict[int, Entry]:
        """By latent, what lists say of its explanation; read again when the database has changed."""
        database = self.workspace.database
        stamp = (_stamp(database), _stamp(database.with_name(database.name + "-wal")))
        if index.id not in self._entries or self._entries[index.id][0] != stamp:
            rows = {latent: _entry(said[0]) for latent, said in self._store.entries(index.id).items()}
            self._entries[index.id] = (stamp, rows)
        return self._entries[index.id][1]

    def explained_with(self, index: FeatureIndex, words: str) -> list[int]:
        """Latents whose explanation contains all of `words`."""
        return self._store.search(index.id, words)

    def manifest(self, run: str, kind: str) -> Manifest | None:
        """The manifest of one artifact of a run, or None."""
        return _parsed(Manifest, self.workspace.run(run) / kind / MANIFEST)

    def corpus_manifest(self, run: str) -> Manifest | None:
        """The manifest of a run's corpus, or None."""
        return _parsed(Manifest, self.workspace.corpus_of(run) / MANIFEST)

    def settings(self, run: str) -> dict:
        """The configuration of a run; empty if it was made without one."""
        return self.workspace.settings(run)

    def density(self, run: str) -> DensityHistogram | None:
        """How often the latents of an evaluated run are active, or None."""
        return _parsed(DensityHistogram, self.workspace.run(run) / "evaluation" / DENSITY)

    def run_folders(self) -> list[str]:
        """Names of all runs that were begun, with or without a finished artifact."""
        return self.workspace.begun()

    def sweep(self, run: str) -> SweepReport | None:
        """The sweep of a run, or None."""
        return _parsed(SweepReport, self.workspace.run(run) / "sweep" / "report" / "sweep.json")

    def report(self) -> Report | None:
        """The report as it was last written, or None."""
        return _parsed(Report, self.workspace.report)

    def report_is_old(self) -> bool:
        """Whether the artifacts say otherwise than the report; by contents, so that copies stay fresh."""
        written = self.report()
        return written is not None and written != (report(self.workspace) if evaluated_runs(self.workspace) else None)


def _parsed(kind: type[T], path: Path) -> T | None:
    values = read_json(path)
    return None if values is None else kind.parse(values, str(path))


def _entry(said: Said) -> Entry:
    score = said.headlines[0] if said.headlines else None
    return Entry(said.status, said.title, score and score.value, score and score.null)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
