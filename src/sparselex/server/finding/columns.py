"""What all latents have in each column of the list: to be filtered, sorted and shown."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sparselex.evaluate.effects.records import EffectsIndex
from sparselex.server.explained import Headlines, Texts
from sparselex.server.finding.hits import Hits
from sparselex.server.finding.query import Condition, Query
from sparselex.server.opened import OpenIndex

_SCORES = ("score", "null", "low", "high")
_BYTES = 32
"""Bytes of an explanation that its place in the alphabet is told by."""


class Unscored:
    """The columns of one run that are the same whatever scores are shown, each worked out when it is first asked
    for."""

    def __init__(self, found: OpenIndex, texts: Texts, effects: EffectsIndex | None, labels: Mapping[int, str]):
        self.found, self.texts, self.effects, self.labels = found, texts, effects, labels
        self.kept = dict[str, NDArray[np.float64]]()
        self.explained = np.zeros(found.index.d_sae, dtype=bool)
        self.explained[texts.latents] = True


class Columns:
    """The columns of one run beside one score of its latents."""

    def __init__(self, unscored: Unscored, headlines: Headlines):
        self.unscored, self.headlines = unscored, headlines
        self.found, self.effects, self.labels = unscored.found, unscored.effects, unscored.labels
        self._texts, self._kept = unscored.texts, unscored.kept
        self.d_sae = self.found.index.d_sae

    def number(self, name: str) -> NDArray[np.float64]:
        """`[d_sae]`, by what the column is sorted and compared; NaN for what is not known."""
        if name in _SCORES:
            return getattr(self.headlines, name)
        # Who explains first is who is scored.
        key = f"{name} {self.headlines.explainer}" if name == "explanation" else name
        if key not in self._kept:
            self._kept[key] = self._number(name)
        return self._kept[key]

    def flag(self, name: str) -> NDArray[np.bool_]:
        """`[d_sae]`, whether each is so."""
        if name in self.found.flags:
            return self.found.flags[name]
        if name == "used":
            return self._of_effects("used") == 1
        if name == "explained":
            return self.unscored.explained
        if name == "scored":
            return np.isfinite(self.headlines.score)
        there = np.zeros(self.d_sae, dtype=bool)
        there[[latent for latent in self.labels if latent < self.d_sae]] = True
        return there

    def holds(self, condition: Condition) -> NDArray[np.bool_]:
        """`[d_sae]`, of which latents a condition holds; of none whose value is not known."""
        return condition.holds(self.number(condition.column))

    def named(self, column: str, words: str) -> NDArray[np.bool_]:
        """`[d_sae]`, in which of the column's texts these words stand, upper and lower case alike."""
        there = np.zeros(self.d_sae, dtype=bool)
        if column == "top":
            return np.isin(self.found.top_tokens, self.found.tokens_with(words))
        if column == "label":
            there[[latent for latent, text in self.labels.items() if words.lower() in text.lower()]] = True
            return there
        there[self._texts.with_words(words)[0]] = True
        return there

    def fitting(self, query: Query) -> NDArray[np.bool_]:
        """`[d_sae]`, for which latents all conditions of a search hold."""
        there = np.ones(self.d_sae, dtype=bool)
        for condition in query.conditions:
            there &= self.holds(condition)
        for name, wanted in query.flags.items():
            there &= self.flag(name) == wanted
        for column, words in query.texts:
            there &= self.named(column, words)
        return there

    def ordered(self, name: str, latents: NDArray[np.int64], descending: bool, hits: Hits | None) -> NDArray[np.int64]:
        """`latents` (ascending) by a column; what has no value comes last either way, equals by number."""
        keys = self.keys(name, latents, hits)
        return latents[np.argsort(np.nan_to_num(-keys if descending else keys, nan=np.inf), kind="stable")]

    def keys(self, name: str, latents: NDArray[np.int64], hits: Hits | None) -> NDArray[np.float64]:
        """`[n]`, by what some latents are ordered; how well they fit, where that is asked for and there are `hits`."""
        if name != "match":
            return self.number(name)[latents]
        return np.zeros(len(latents)) if hits is None else hits.match[np.searchsorted(hits.latents, latents)]

    def _alphabet(self) -> NDArray[np.float64]:
        """`[d_sae]`, place in the alphabet of what the list shows first: the explanation that is scored, where there is
        none that of the first explainer."""
        texts = self._texts
        order = np.lexsort((texts.explainers != self.headlines.explainer, texts.latents))
        latents, at = np.unique(texts.latents[order], return_index=True)
        first = order[at]
        text = np.frombuffer(texts.folded + bytes(_BYTES), dtype=np.uint8)
        ends = texts.folded_ends
        starts = np.concatenate([[0], ends[:-1]])[first] if len(first) else first
        letters = text[starts[:, None] + np.arange(_BYTES)]
        inside = np.arange(_BYTES) < (ends[first] - starts)[:, None]
        words = np.where(inside, letters, 0).astype(np.uint8)
        places = np.full(self.d_sae, np.nan)
        if len(first):
            places[latents] = np.unique(np.ascontiguousarray(words).view(f"S{_BYTES}")[:, 0], return_inverse=True)[1]
        return places

    def _number(self, name: str) -> NDArray[np.float64]:
        index = self.found.index
        match name:
            case "latent":
                return np.arange(self.d_sae).astype(float)
            case "effect":
                return self._of_effects("effect")
            case "active":
                return index.table["n_active"].astype(float)
            case "explanation":
                return self._alphabet()
            case "top":
                ranks = self.found.token_ranks[self.found.top_tokens.clip(min=0)].astype(float)
                return np.where(self.found.top_tokens >= 0, ranks, np.nan)
            case "flags":
                return np.sum(list(self.found.flags.values()), axis=0).astype(float)
            case "label":
                return self._labels()
        return np.abs(index.table[name].astype(float))

    def _labels(self) -> NDArray[np.float64]:
        places = np.full(self.d_sae, np.nan)
        ordered = sorted((text.lower(), latent) for latent, text in self.labels.items() if latent < self.d_sae)
        places[[latent for _, latent in ordered]] = np.arange(len(ordered))
        return places

    def _of_effects(self, name: str) -> NDArray[np.float64]:
        return np.full(self.d_sae, np.nan) if self.effects is None else self.effects.by_latent(name, self.d_sae)
