"""Opened artifacts of a workspace, shared by all pages and opened again when a stage has replaced them."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.records import SWEEP, SweepReport
from sparselex.base.artifacts import MANIFEST, Manifest, read_manifest, record_of
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.evaluate.effects.records import KIND as EFFECTS
from sparselex.evaluate.effects.records import EffectsIndex
from sparselex.evaluate.gathered import fresh
from sparselex.features.elsewhere import KIND as ELSEWHERE
from sparselex.features.elsewhere import Elsewhere
from sparselex.features.index import FeatureIndex
from sparselex.features.tokens import TokenTexts
from sparselex.server.explained import Explained
from sparselex.server.finding.examples import ExampleText
from sparselex.server.notes.store import NoteStore
from sparselex.server.page import NoSuchPage, NotMadeYet
from sparselex.server.stamps import Stamp, database_stamps, stamp
from sparselex.text.corpus import TokenCorpus

T = TypeVar("T", bound=Config)
A = TypeVar("A")


class OfRun(Protocol):
    """Part of an artifact over several runs."""

    @property
    def run(self) -> str:
        """The run that it is of."""

    @property
    def index(self) -> str:
        """Id of the index that was read."""


DENSE_ABOVE = 0.1
"""Density above which a latent is called dense."""

RARE_BELOW = 1e-5
"""Density below which a latent that lives is called rare."""

DUPLICATE_FROM = 0.9
"""Cosine of decoder directions from which two latents are called duplicates."""


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
    def duplicate_of(self) -> NDArray[np.integer]:
        """`[d_sae]`, the latent with nearly the same direction (a cosine of `DUPLICATE_FROM` or more); -1 for none."""
        near = self.index.all_neighbours
        if near is None or not near[0].shape[1]:
            return np.full(self.index.d_sae, -1)
        return np.where(near[1][:, 0] >= DUPLICATE_FROM, near[0][:, 0], -1)

    @cached_property
    def flags(self) -> dict[str, NDArray[np.bool_]]:
        """`[d_sae]`, by name, what is unusual about when latents are active."""
        density = self.index.table["density"]
        return {
            "dead": density == 0,
            "rare": (density > 0) & (density < RARE_BELOW),
            "dense": density > DENSE_ABOVE,
            "single-token": self.index.single_token,
            "duplicate": self.duplicate_of >= 0,
        }

    @cached_property
    def promoting(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Of each token the latents that promote it: where they begin, `[n_vocab + 1]`, and all of them."""
        found, n_vocab = self.index.all_promoted, len(self.index.corpus.vocabulary)
        promoted = np.empty((0, 1), dtype=np.int64) if found is None else np.asarray(found)
        tokens = promoted.reshape(-1).astype(np.uint16 if n_vocab < 1 << 16 else np.int64)  # the former sort fast
        latents = (np.argsort(tokens, kind="stable") // max(1, promoted.shape[1])).astype(np.int32)
        return np.concatenate([[0], np.bincount(tokens, minlength=n_vocab).cumsum()]), latents

    @cached_property
    def token_ranks(self) -> NDArray[np.int64]:
        """`[n_vocab]`, the place of each token among all in the order of their names."""
        labels = [self.texts.label(token) for token in range(len(self.index.corpus.vocabulary))]
        return np.argsort(sorted(range(len(labels)), key=labels.__getitem__))

    @cached_property
    def examples(self) -> ExampleText:
        """The text of the examples, to be searched."""
        return ExampleText(self.index)

    @cached_property
    def named_tokens(self) -> dict[str, list[int]]:
        """The tokens of each name: their text, and what pages write for it."""
        found: dict[str, list[int]] = {}
        for token in range(len(self.index.corpus.vocabulary)):
            for name in {self.index.corpus.vocabulary.text(token), self.texts.label(token)}:
                found.setdefault(name, []).append(token)
        return found

    @cached_property
    def token_texts(self) -> list[str]:
        """Every token of the vocabulary as text, lower case."""
        vocabulary = self.index.corpus.vocabulary
        return [vocabulary.text(token).lower() for token in range(len(vocabulary))]

    def tokens_with(self, words: str) -> list[int]:
        """Tokens whose text contains `words`, upper and lower case alike."""
        wanted = words.lower()
        return [token for token, text in enumerate(self.token_texts) if wanted in text]


def flags_of(found: OpenIndex, latent: int) -> list[str]:
    """What is unusual about a latent, in words."""
    names = [name for name, flag in found.flags.items() if flag[latent]]
    return [f"duplicate of {found.duplicate_of[latent]}" if name == "duplicate" else name for name in names]


class OpenWorkspace:
    """The read side of one workspace: what builders of pages are given. Nothing here writes."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.explained = Explained(workspace.database)
        self.notes = NoteStore(workspace.database)
        self._cards: dict[str, tuple[Stamp, RunCard]] = {}
        self._effects: dict[str, tuple[Stamp, EffectsIndex]] = {}
        self._indexes: dict[str, tuple[tuple[Stamp, ...], OpenIndex]] = {}
        self._artifacts: dict[tuple[str, str, Callable[[Path], Any]], tuple[Stamp, Any]] = {}
        self._labels: dict[str, tuple[tuple[Any, ...], Mapping[int, str]]] = {}
        self._remembered: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def card(self, run: str) -> RunCard:
        """What a run says of itself. Raises `NoSuchPage` if the workspace has no run of that name."""
        if not self.workspace.has_run(run):
            runs = self.workspace.runs()
            if run in self.workspace.begun():
                raise NotMadeYet(
                    f"Run {run!r} was begun and has finished nothing yet.",
                    "a run with something finished",
                    "wait for the command that began it, or give it again: it goes on.",
                )
            raise NoSuchPage(
                f"There is no run {run!r} in this workspace.",
                "one of " + ", ".join(runs) if runs else "a run; this workspace has none yet",
                "go back to the overview.",
            )
        now = stamp(self.workspace.card_file(run))
        if run not in self._cards or self._cards[run][0] != now:
            self._cards[run] = (now, self.workspace.card(run))
        return self._cards[run][1]

    def cards(self) -> dict[str, RunCard | UserError]:
        """What every run says of itself, or why it cannot be read, twins behind the run that they are controls of."""
        found = {run: self._card_or_error(run) for run in self.workspace.runs()}
        places = {run: place for place, run in enumerate(found)}

        def family(run: str) -> tuple[int, bool, int]:
            card = found[run]
            of = card.twin_of if isinstance(card, RunCard) and card.twin_of in found else None
            return places[of or run], of is not None, places[run]

        return {run: found[run] for run in sorted(found, key=family)}

    def index(self, run: str) -> OpenIndex:
        """The feature index of a run. Raises `NoSuchPage` if it has none, `UserError` if it is damaged."""
        card, path = self.card(run), self.workspace.run(run) / "index"
        if card.corpus is None or not self.has(run, "index"):
            raise NotMadeYet(
                f"Run {run!r} has no feature index yet.",
                "a run that has been indexed",
                f"run `sparselex index {self.workspace.typed} --run {run}`.",
            )
        corpora = self.workspace.corpora
        stamps = (stamp(f"{path}/{MANIFEST}"), stamp(f"{corpora}/{card.corpus}/{MANIFEST}"))
        if run not in self._indexes or self._indexes[run][0] != stamps:
            self._indexes[run] = (stamps, OpenIndex(FeatureIndex(path, TokenCorpus(corpora / card.corpus))))
        return self._indexes[run][1]

    def dictionary_id(self, run: str) -> str:
        """Id of what the latents of a run's index are of, under which notes of them are kept: of its dictionary, or of
        the index where it is of none; empty where there is no index. Raises `UserError` if it is damaged."""
        if not self.has(run, "index"):
            return ""
        manifest = read_manifest(self.workspace.run(run) / "index")
        return manifest.inputs.get("dictionary", manifest.id)

    def effects(self, run: str) -> EffectsIndex | None:
        """What the model does without each latent of a run; None where that was not measured, or of another index than
        the run has now. Raises like `index`."""
        path = self.workspace.run(run) / EFFECTS
        if not self.has(run, EFFECTS):
            return None
        now = stamp(f"{path}/{MANIFEST}")
        if run not in self._effects or self._effects[run][0] != now:
            self._effects[run] = (now, EffectsIndex(path))
        found = self._effects[run][1]
        return found if found.manifest.inputs.get("index") == self.index(run).index.id else None

    def artifact(self, run: str, name: str, read: Callable[[Path], A]) -> A | None:
        """What `read` makes of a run's artifact of that name, kept until that is replaced; None where there is none.
        Raises what `read` raises."""
        if not self.has(run, name):
            return None
        path, key = self.workspace.run(run) / name, (run, name, read)
        now = stamp(f"{path}/{MANIFEST}")
        if key not in self._artifacts or self._artifacts[key][0] != now:
            self._artifacts[key] = (now, read(path))
        return self._artifacts[key][1]

    def over_runs(
        self, run: str, name: str, read: Callable[[Path], A | None], parts: Callable[[A], Iterable[OfRun]]
    ) -> A | None:
        """The same of an artifact over several runs, its `parts`; None also where one of them was indexed anew."""
        found = self.artifact(run, name, read)
        if found is None or not all(self.still_indexed(part.run, part.index) for part in parts(found)):
            return None
        return found

    def holding(self, run: str, find: Callable[[str], A | None]) -> tuple[str, A] | None:
        """The first run in which something is found that says something of a run, and that: its own before others."""
        for owner in (run, *(other for other in self.workspace.runs() if other != run)):
            if (found := find(owner)) is not None:
                return owner, found
        return None

    def still_indexed(self, run: str, index: str) -> bool:
        """Whether a run has the index of that id still."""
        return self.has(run, "index") and self.index(run).index.id == index

    def elsewhere(self, run: str) -> Elsewhere | None:
        """What files say of the features of a run that was made elsewhere; None of one that was made here."""
        return Elsewhere(self.workspace.run(run) / ELSEWHERE) if self.has(run, ELSEWHERE) else None

    def labels(self, run: str) -> Mapping[int, str]:
        """What people call latents of a run, by latent: searched and shown with what explainers say. The same object
        as long as the database is the same."""
        dictionary = self.index(run).index.manifest.inputs.get("dictionary", "")
        now = (dictionary, *database_stamps(self.workspace.database))
        if run not in self._labels or self._labels[run][0] != now:
            self._labels[run] = (now, self.notes.labels(run, dictionary))
        return self._labels[run][1]

    def remembered(self, name: str, parts: tuple[Any, ...], make: Callable[..., Any]) -> Any:
        """What was made of these very objects (texts: of equal ones), made now where it is of others; one by
        name."""
        kept, made = self._remembered.get(name, ((), None))
        same = lambda a, b: a is b or (isinstance(a, str) and isinstance(b, str) and a == b)
        if len(kept) != len(parts) or not all(map(same, kept, parts)):
            made = make(*parts)
            self._remembered[name] = (parts, made)
        return made

    def stale(self, run: str, name: str) -> str:
        """Why figures of a run's artifact are left out everywhere: what it was measured on, in this run or in others
        beside it, is another now. Empty where it is current, or not there."""
        return fresh(self.workspace, run, self.card(run), only=(name,))[1].get(name, "")

    def has(self, run: str, kind: str) -> bool:
        """Whether a run has a finished artifact of that kind."""
        return self.workspace.has(run, kind)

    def missing(self, card: RunCard) -> list[str]:
        """Artifacts without which the run is unfinished and which it does not have yet."""
        return [stage.makes for stage in card.stages if stage.expected and not self.has(card.name, stage.makes)]

    def corpus(self, card: RunCard) -> Manifest | None:
        """The manifest of the corpus that a run reads; None before it has read any text."""
        folder = self.workspace.corpora / (card.corpus or "")
        return read_manifest(folder) if card.corpus and (folder / MANIFEST).is_file() else None

    def sweep(self, run: str) -> SweepReport | None:
        """The sweep of a run, or None."""
        return self.record(SweepReport, run, "sweep", SWEEP)

    def record(self, kind: type[T], run: str, artifact: str, name: str) -> T | None:
        """The record in one file of a run's artifact, None where there is no such artifact. Raises `UserError` if it is
        not as it was written."""
        return record_of(kind, self.workspace.run(run) / artifact, name) if self.workspace.has(run, artifact) else None

    def _card_or_error(self, run: str) -> RunCard | UserError:
        try:
            return self.card(run)
        except UserError as error:
            return error
