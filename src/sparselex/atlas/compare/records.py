"""A comparison as it lies on disk, and its read side. No tensors here: the browser reads it."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import number

KIND = "compare"
"""Kind of the artifact."""

SUMMARY = "compare.json"
"""Its `Comparison`."""

WORDS = "words"
"""Name of the input that is a fingerprint of the explanations of both."""

Side = Literal["a", "b"]
"""One of the two dictionaries."""

Measure = Literal["cosine", "correlation"]
"""How alike two latents are: cosine of decoder rows, or correlation of activations."""

MEASURES: tuple[Measure, ...] = ("cosine", "correlation")
"""All measures, the one that pages begin with first."""


SAME = 0.7
"""Similarity from which a pair counts as one latent, as between seeds (Paulo and Belrose 2025, arXiv:2501.16615)."""


def folder_name(other: str) -> str:
    """The folder, among a run's artifacts, of its comparison with another run."""
    return f"compare-{other}"


def compared_with(folder: str) -> str | None:
    """The run that is compared with in a folder of that name; None of one that is no comparison."""
    return folder.removeprefix("compare-") if folder.startswith("compare-") else None


class SideSummary(Config):
    """One of the two dictionaries."""

    run: str
    """Its run."""

    index: str
    """Id of the index that was read."""

    n_latents: int
    """Latents."""

    n_rare: int
    """Latents active on too few of the tokens for their activations to be compared."""

    site: str = ""
    """Where it reads the model, and where it reconstructs, if that is elsewhere."""

    n_split: int | None = None
    """Latents that the other side has in parts; None where activations were not compared."""


class WordsSummary(Config):
    """How many pairs of a matching could be compared by what one explainer says of them."""

    n_pairs: int
    """Pairs that were looked at."""

    n_explained: int
    """Those of which both latents have an explanation."""

    n_half: int
    """Those of which only one has."""

    n_identical: int
    """Explained pairs with one text for both."""

    missing: str = ""
    """Why the similarity of explanations was not measured; empty where it was."""


class MeasureSummary(Config):
    """What one measure was held against."""

    null_95: dict[Side, float]
    """What 95 % of the best matches of a side's latents stay below under the null."""

    matched_null_95: float
    """The same of the pairs of the one-to-one matching."""

    n_pairs: int
    """Pairs of that matching."""

    n_alike: int
    """Pairs that are more alike than that."""

    n_same: int
    """Pairs at `SAME` or more."""

    n_only: dict[Side, int]
    """Latents of a side whose best match is no better than 95 % of the null's."""

    null: str
    """The null, in words."""

    n_mutual: int | None = None
    """Pairs of latents that are each other's best match; None where that was not counted."""

    n_mutual_pairs: int | None = None
    """How many of these are pairs of the matching."""

    words: dict[str, WordsSummary] = {}
    """What explanations say of its pairs, by explainer."""


class Comparison(Config):
    """Two dictionaries beside each other."""

    a: SideSummary
    """The first."""

    b: SideSummary
    """The second."""

    n_tokens: int
    """Tokens over which activations were compared; 0 where they were not."""

    measures: dict[Measure, MeasureSummary]
    """What was measured."""

    missing: dict[Measure, str]
    """What was not, and why."""

    figures: list[Figure]
    """Each beside its null."""

    said: str = ""
    """Fingerprint of the explanations that were read; empty where none were."""

    def figure(self, measure: str, name: str) -> Figure | None:
        """The figure `compare/<measure>/<name>`; None where there is none."""
        return next((one for one in self.figures if one.name == f"compare/{measure}/{name}"), None)

    def alike(self, measure: str, explainer: str) -> str:
        """How alike the explanations of pairs are, in words, beside what they are by chance."""
        said = []
        for name, words in (("explanation_similarity", "similarity"), ("predictor_agreement", "agreement of rules")):
            one = self.figure(measure, f"{explainer}/{name}")
            if one is not None and one.value is not None:
                said.append(f"{words} {number(one.value, 3)} ({_by_chance(one)})")
        missing = self.measures[measure].words[explainer].missing if measure in self.measures else ""
        return ", ".join([*said, *([f"no similarity: {missing}"] if missing else [])]) or "nothing to be compared"


def _by_chance(figure: Figure) -> str:
    return "no chance level" if figure.null is None else f"by chance {number(figure.null, 3)}"


class Cell(Config):
    """Two runs in a table of all with all."""

    a: str
    """The one run."""

    b: str
    """The other."""

    sites: tuple[str, str]
    """Where either reads the model."""

    measure: Measure
    """By what their latents were matched: by activations where that could be."""

    matched: Figure | None
    """Mean likeness of the pairs."""

    words: dict[str, Figure]
    """Similarity of the pairs' explanations, by explainer."""


def cell_of(found: Comparison) -> Cell:
    """A comparison in one cell."""
    measure: Measure = "correlation" if "correlation" in found.measures else "cosine"
    words = {who: found.figure(measure, f"{who}/explanation_similarity") for who in found.measures[measure].words}
    return Cell(
        a=found.a.run,
        b=found.b.run,
        sites=(found.a.site, found.b.site),
        measure=measure,
        matched=found.figure(measure, "matched"),
        words={who: figure for who, figure in words.items() if figure is not None},
    )


class Parted(NamedTuple):
    """Parts of one latent."""

    latent: NDArray[np.int32]
    share: NDArray[np.float32]
    inside: NDArray[np.float32]


class Compared:
    """A finished comparison; `turned` shows the second dictionary as the first. Raises `UserError` if `path` is none or
    is damaged."""

    def __init__(self, path: Path, *, turned: bool = False):
        self.manifest = open_artifact(path, KIND)
        self._path = path
        sides: tuple[Side, Side] = ("b", "a") if turned else ("a", "b")
        self.summary = _turned(record_of(Comparison, path, SUMMARY)) if turned else record_of(Comparison, path, SUMMARY)
        self.latents = {own: self._table(f"latents-{kept}") for own, kept in zip(("a", "b"), sides, strict=True)}
        """By side the columns over its latents: `n_active` and `covered`, `n_parts`, `split` (of parts on the other
        side), and for each measure `<measure>_best` (the latent of the other side), `<measure>` (how alike that is),
        `<measure>_null` (the best match under the null), `<measure>_partner` and `<measure>_matched`, and for each
        explainer that has explained latents of both `<measure>_<explainer>_similarity` and `_agreement`, of the pair's
        explanations. Numbers of latents are -1 and values NaN where there are none."""
        self._parts = {own: self._table(f"parts-{kept}") for own, kept in zip(("a", "b"), sides, strict=True)}

    def parts(self, side: Side, latent: int) -> Parted:
        """What the other side has of a latent, the largest share first."""
        table = self._parts[side]
        rows = slice(*np.searchsorted(table["latent"], [latent, latent + 1]).tolist())
        return Parted(table["part"][rows], table["share"][rows], table["inside"][rows])

    def _table(self, name: str) -> dict[str, NDArray]:
        table = pyarrow.parquet.read_table(verified(self._path, f"{name}.parquet", self.manifest))
        return {column: table[column].to_numpy() for column in table.column_names}


def _turned(found: Comparison) -> Comparison:
    other: dict[str, Side] = {"a": "b", "b": "a"}

    def swapped(values: dict) -> dict:
        return {other[side]: value for side, value in values.items()}

    measures = {
        name: one.model_copy(update={"null_95": swapped(one.null_95), "n_only": swapped(one.n_only)})
        for name, one in found.measures.items()
    }
    ends = {"/a": "/b", "/b": "/a"}
    figures = [
        one.model_copy(update={"name": one.name[:-2] + ends.get(one.name[-2:], one.name[-2:])}) for one in found.figures
    ]
    return found.model_copy(update={"a": found.b, "b": found.a, "measures": measures, "figures": figures})
