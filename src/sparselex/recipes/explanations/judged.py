"""What judges said of held-out windows, each window found again in the corpus: of a judgement a position is kept and
what the judge read, and from these two follow its tokens and the activations on them."""

from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from sparselex.base.workspace import Workspace
from sparselex.convert.explanations.told import OurExample, Ours, OurSimulation, OurTrial
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.store import AskedStore, Seen
from sparselex.explain.asking.summary import KIND
from sparselex.explain.asking.words import marks, plain
from sparselex.explain.evidence import HeldOut
from sparselex.explain.records import Judgement
from sparselex.explain.rules import rule_of
from sparselex.explain.surroundings import Surroundings
from sparselex.explain.windows import TokenWindows, activations
from sparselex.recipes.explanations.opened import Opened

JUDGES = ("detection", "fuzzing")
"""Judges whose windows are of one kind or the other: what others say is of another form, or of no window."""

_LEAST, _MOST = 8, 512
"""Tokens that a window may have: the bounds of `AskConfig.window`."""

_TENTHS = 10


class JudgedWindows:
    """The windows that were judged of a run's latents.

    Args:
        workspace: the workspace.
        run: the run.
        opened: its index and explanations.
    """

    def __init__(self, workspace: Workspace, run: str, opened: Opened):
        self._opened, self._test = opened, HeldOut(opened.features)
        self._asked = AskedStore(workspace.database)
        made = workspace.artifacts(run).get(KIND)
        likely = (made.config.get("window") if made else None, AskConfig().window)
        self._sizes = [size for size in dict.fromkeys([*likely, *range(_MOST, _LEAST - 1, -1)]) if size]
        self._windows = cache(self._test.windows)
        self._token = cache(lambda token: plain(self._test.vocabulary, [token]))
        self._said = lru_cache(maxsize=1)(self._judgements)
        self._tenths = lru_cache(maxsize=1)(self._by_tenth)
        self.n_written: Counter[str] = Counter()
        """Judgements that are among the trials, by judge."""
        self.left_out: Counter[str] = Counter()
        """Judgements that are not among the trials, by why."""

    def of(self, said: Ours) -> Iterator[OurTrial]:
        """What each judge said of an explanation, window by window."""
        for judge, judgements in self._by_judge(said).items():
            if judge not in JUDGES:
                self.left_out[f"judgements by {judge}"] += len(judgements)
                continue
            size, found = self._found(said, judge, judgements)
            if found:
                yield OurTrial(judge, [self._example(said.latent, size, one, seen) for one, seen in found])
            self.n_written[judge] += len(found)
            if missing := len(judgements) - len(found):
                self.left_out["judgements whose windows were not kept"] += missing

    def simulated(self, said: Ours) -> list[OurSimulation]:
        """The windows on which a rule was judged by simulation, with what it foretells; none of other explanations, for
        what a language model said of single tokens is not kept."""
        rule, judge = rule_of(said.predictor), "simulation"
        if rule is None:
            return []
        size, found = self._found(said, judge, self._by_judge(said).get(judge, []))
        made, tokens = list[OurSimulation](), self._test.tokens
        for one, _ in found:
            ranks = self._ranks(size, one.position)
            expected = rule.predict(Surroundings(tokens.corpus, tokens.positions[ranks.start : ranks.stop]))
            made.append(OurSimulation(*self._shown(said.latent, ranks), expected.tolist()))
        return made

    def _by_judge(self, said: Ours) -> dict[str, list[Judgement]]:
        found: dict[str, list[Judgement]] = {}
        for one in self._said(said.latent)[0]:
            if one.explainer == said.explainer:
                found.setdefault(one.scorer, []).append(one)
        return found

    def _found(self, said: Ours, judge: str, judgements: list[Judgement]) -> tuple[int, list[tuple[Judgement, Seen]]]:
        """Tokens of a window, and the judgements whose windows there are, with what was shown."""
        shown = self._said(said.latent)[1]
        rows = [(one, shown.get((said.explainer, judge, one.position))) for one in judgements]
        there = [(one, seen) for one, seen in rows if seen is not None and self._rank(one.position) is not None]
        size = self._size(there)
        return (size, there) if size else (0, [])

    def _judgements(self, latent: int) -> tuple[list[Judgement], dict[tuple[str, str, int], Seen]]:
        index_id = self._opened.features.id
        seen = {(one.explainer, one.judge, one.position): one for one in self._asked.seen(index_id, latent)}
        return self._opened.store.judgements(index_id, latent), seen

    def _size(self, rows: list[tuple[Judgement, Seen]]) -> int | None:
        """How many tokens windows were cut into: that by which all of them read as they were shown."""
        found = next((size for size in self._sizes if rows and self._fits(size, [seen for _, seen in rows])), None)
        if found is not None:  # others of the run were most likely judged alike
            self._sizes.remove(found)
            self._sizes.insert(0, found)
        return found

    def _fits(self, size: int, seen: list[Seen]) -> bool:
        # Marks are put into a text, and nothing is taken out of it.
        if len(self._text(size, seen[0].position)) > len(seen[0].text):
            return False
        texts = [self._text(size, one.position) for one in seen]
        opening, closing = marks(texts)
        return all(
            text == one.text.replace(opening, "").replace(closing, "") for text, one in zip(texts, seen, strict=True)
        )

    def _text(self, size: int, position: int) -> str:
        ranks, tokens = self._ranks(size, position), self._test.tokens.tokens
        return plain(self._test.vocabulary, tokens[ranks.start : ranks.stop].tolist())

    def _ranks(self, size: int, position: int) -> range:
        windows: TokenWindows = self._windows(size)
        return windows.ranks(int(windows.of(np.array([self._rank(position)]))[0]))

    def _rank(self, position: int) -> int | None:
        """Which counted token stands at a position; None where none does."""
        positions = self._test.tokens.positions
        rank = int(np.searchsorted(positions, position))
        return rank if rank < len(positions) and positions[rank] == position else None

    def _example(self, latent: int, size: int, said: Judgement, seen: Seen) -> OurExample:
        ranks = self._ranks(size, said.position)
        tokens, values = self._shown(latent, ranks)
        return OurExample(
            tokens=tokens,
            activations=values,
            kind=seen.kind,
            tenth=self._tenth(latent, size, ranks) if seen.kind == "active" else None,
            said=said.said,
        )

    def _shown(self, latent: int, ranks: range) -> tuple[list[str], list[float]]:
        """The tokens of a window, and the activations on them."""
        tokens = self._test.tokens.tokens[ranks.start : ranks.stop].tolist()
        return list(map(self._token, tokens)), activations(self._test.column(latent), ranks).tolist()

    def _tenth(self, latent: int, size: int, ranks: range) -> int | None:
        """In which tenth a window is; None for one in which the latent is not active."""
        numbers, tenths = self._tenths(latent, size)
        window = int(self._windows(size).of(np.array([ranks.start]))[0])
        found = tenths[numbers == window]
        return int(found[0]) if len(found) else None

    def _by_tenth(self, latent: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The windows in which a latent is active, and in which tenth of them by size each is, the largest first."""
        active = self._windows(size).active(self._test.column(latent))
        place = np.empty(len(active.numbers), dtype=np.int64)
        place[np.argsort(-active.peaks, kind="stable")] = np.arange(len(place))
        return active.numbers, place * _TENTHS // max(1, len(place))
