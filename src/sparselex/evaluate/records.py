"""Evaluations and reports as they lie on disk. No tensors here: command line and browser read these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.formats import number
from sparselex.base.html import card, folded, table, words
from sparselex.evaluate.apart import control_names, parted

INFLUENCES = "influences.json"
"""File of an evaluation that holds its `Influences`."""

DENSITY = "density.json"
"""File of an evaluation that holds its `DensityHistogram`."""

Verdict = Literal["better", "worse", "undecided"]


class DensityHistogram(Config):
    """How many latents are active how often."""

    edges: list[float]
    """log10 of the density on test documents at the edges of the bins."""

    counts: list[int]
    """Latents in each bin; those that are never active are in none."""

    n_dead: int
    """Latents never active on test documents."""

    @classmethod
    def read(cls, folder: Path) -> "DensityHistogram":
        """That of the evaluation `folder`. Raises `UserError` if it is missing or damaged."""
        return record_of(cls, folder, DENSITY)


class Influences(Config):
    """What figures owe to each document: two dictionaries that were measured on the same ones are compared by it."""

    rows: str = ""
    """Fingerprint of the rows of the corpus that were looked at: two that were measured on the same are paired."""

    documents: list[str]
    """Names of the test documents."""

    subjects: dict[str, dict[str, list[float]]]
    """By subject (the dictionary under the empty name, controls under theirs) and figure, a number for each document;
    their squares sum to the figure's variance."""

    def of(self, subject: str, figure: str) -> list[float] | None:
        """Those of one figure; None where they are not known."""
        return self.subjects.get(subject, {}).get(figure)

    @classmethod
    def read(cls, folder: Path) -> "Influences":
        """Those of the evaluation `folder`. Raises `UserError` if they are missing or damaged."""
        return record_of(cls, folder, INFLUENCES)


class Evaluation(Figures):
    """One dictionary judged: its figures beside those of control dictionaries, and how its latents are spread."""

    density: DensityHistogram
    """Densities of the dictionary's latents over the counted tokens of test documents."""

    influences: Influences
    """What its figures, and those of control dictionaries, owe to each document."""

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """The evaluation in the artifact `folder`. Raises `UserError` if a file of it is missing or damaged."""
        return cls(
            **dict(Figures.read(folder)), density=DensityHistogram.read(folder), influences=Influences.read(folder)
        )

    def write(self, folder: Path) -> None:
        """Put its figures, densities and influences into the folder of an artifact in progress, a file each."""
        super().write(folder)
        write_json(folder / INFLUENCES, self.influences.to_json())
        write_json(folder / DENSITY, self.density.to_json())


class Comparison(Config):
    """One figure of a dictionary against the same figure of a control."""

    figure: str
    """Name of the figure."""

    control: str
    """Name of the control."""

    difference: float
    """The figure less that of the control."""

    low: float | None
    """Lower end of its 95 % interval, of this comparison alone."""

    high: float | None
    """Upper end."""

    paired: bool
    """Whether both were measured on the same documents, so that what moves both alike cancels."""

    p: float
    """Chance of so large a difference if there were none."""

    verdict: Verdict
    """Whether the dictionary is better or worse, all comparisons of the report counted together (Holm 1979)."""


class Answer(Config):
    """What a sceptic asks first."""

    question: str
    """The question."""

    answer: str
    """The answer, made from figures."""

    evidence: list[str]
    """The figures that it is made from, a line each."""


class Report(Config):
    """What `report.json` holds."""

    run: str
    """The run whose figures these are."""

    answers: list[Answer] = []
    """Six questions, each with its answer and the figures behind it."""

    figures: list[Figure]
    """Its figures, each with those of its controls: the runs that are twins of it, then control dictionaries. Those of
    pairs and of decompositions come last, with controls of their own."""

    controls: dict[str, list[Figure]] = {}
    """The figures of these controls themselves, with their intervals, by control."""

    comparisons: list[Comparison] = []
    """Every figure of which some values are better than others, against that of every control."""

    verdicts: list[str]
    """What follows from them, in words, the worst first."""

    others: dict[str, dict[str, float]]
    """Values of the figures of every other evaluated run, by run and by name of the figure; they are no controls."""

    cost: str = ""
    """What the run took: size of its dictionary, tokens it was trained on, tokens its latents were counted on."""

    stale: dict[str, str]
    """Artifacts whose figures are left out, and why: the dictionary or the index that they were measured on is gone or
    is another now, and what to run; those of other runs with the run's name before them, as in `twin/evaluation`."""

    inputs: dict[str, str] = {}
    """Ids of the artifacts that the evaluated runs had, by run and name, as in `main/evaluation`, what each run is a
    control of, as in `main/run.json`, and the version and fingerprint of what made the report of them."""

    check: str = ""
    """Fingerprint of all the others."""

    def _repr_html_(self) -> str:
        """In a notebook: the answers, the verdicts, and every figure beside its null and its controls."""
        named = [name for name in self.controls if any(name in one.controls for one in self.figures)]
        answers = "".join(
            words(f"{one.question} {one.answer}") + folded("evidence", *map(words, one.evidence))
            for one in self.answers
        )
        verdicts = folded(f"{len(self.verdicts)} verdicts", *map(words, self.verdicts)) if self.verdicts else ""
        left_out = "".join(words(f"Left out: {name}, {why}.", quiet=True) for name, why in self.stale.items())
        own, apart = parted(self.figures)
        more = [part for name, those in apart.items() for part in (words(name), _table(those, control_names(those)))]
        return card(f"Report of {self.run}", answers, verdicts, _table(own, named), *more, left_out)


def _table(figures: Sequence[Figure], named: Sequence[str]) -> str:
    return table(["figure", "value", "95 % interval", "null", *named, "n"], [_row(one, named) for one in figures])


def _row(one: Figure, named: Sequence[str]) -> list[str]:
    value = f"{number(one.value)} {one.unit}".strip() if one.failure is None else f"not measured: {one.failure}"
    interval = "–" if one.ci_low is None else f"{number(one.ci_low)} to {number(one.ci_high)}"
    return [
        one.name,
        value,
        interval,
        number(one.null),
        *(number(one.controls.get(name)) for name in named),
        f"{one.n:,}",
    ]
