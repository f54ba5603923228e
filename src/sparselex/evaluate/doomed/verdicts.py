"""What may be said of each example, made from its figures: where they do not bear out the claim, it is said."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.doomed.config import LEAST_SEEDS, Example
from sparselex.evaluate.doomed.records import CHANCE_95, MethodRow, Supported

FOUND, MOST = 0.99, 0.9
"""|Cosine| from which a direction counts as found, and below which it is surely not."""

FEW = 0.05
"""Share of values or combinations below which a code is not said to be found."""


class Verdict(NamedTuple):
    """Whether the claim is borne out, and what the figures say."""

    supported: Supported
    words: str


class Rows(NamedTuple):
    """The rows of an example and its facts."""

    rows: Sequence[MethodRow]
    facts: Mapping[str, Figure]

    def value(self, called: str, measure: str) -> float:
        """A row's value; 0 where it was not measured."""
        found = next((one.value(measure) for one in self.rows if one.called == called), None)
        return found if found is not None else 0.0

    def fact(self, name: str) -> float:
        """A fact's value; 0 where it was not measured."""
        return self.facts[name].value or 0.0

    def isolated(self, measure: str) -> list[MethodRow]:
        """Methods that see activations alone and have the measure."""
        return [one for one in self.rows if one.sees == "activations" and one.value(measure) is not None]

    def above(self, measure: str) -> list[MethodRow]:
        """Those of them that are above what 95 % of as many random directions reach."""
        return [one for one in self.isolated(measure) if (one.value(measure) or 0.0) > _high(one.figures[measure])]

    def best(self, measure: str) -> MethodRow | None:
        """The best of them; None where there is none."""
        return max(self.isolated(measure), key=lambda one: one.value(measure) or 0.0, default=None)


def verdict(example: Example, rows: Sequence[MethodRow], facts: Mapping[str, Figure]) -> Verdict:
    """What the figures of an example say."""
    return _VERDICTS[example](Rows(rows, facts))


def _scaffolding(of: Rows) -> Verdict:
    above, best = of.above("cosine"), of.best("cosine")
    gram = of.value("gradient Gram matrix", "cosine")
    reached = best.value("cosine") or 0.0 if best else 0.0
    supported: Supported = "no"
    if gram >= FOUND and reached < MOST:
        supported = "partly" if above else "yes"
    words = (
        f"The gradient Gram matrix finds the readout (|cosine| {_n(gram)}), by construction: the output is linear in "
        f"the units. {_isolated(of, 'cosine')} {_beyond('|cosine|', above, len(of.isolated('cosine')))} The readout "
        f"holds {_n(100 * of.fact('variance_share'), 2)} % of the units' variance."
    )
    return Verdict(supported, words)


def _superposed(of: Rows) -> Verdict:
    trained = [one for one in of.isolated("cosine_within") if one.value("fvu") is not None]
    above = [one for one in of.above("cosine_within") if one in trained]
    clustered = max((one.value("clustered") or 0.0 for one in trained), default=0.0)
    best = max((one.value("cosine_within") or 0.0 for one in trained), default=0.0)
    supported: Supported = "no"
    if clustered >= 0.5 and best < MOST:
        supported = "partly" if above else "yes"
    each, gram = of.value("gradient of each output", "cosine"), of.value("gradient Gram matrix", "cosine")
    single = next((one for one in of.rows if one.sees == "chance"), None)
    reached = single.value("cosine_within") if single else None
    words = (
        f"Latents do cluster by circuit (up to {_n(100 * clustered, 2)} % of them lie in one), and reach |cosine| "
        f"{_n(best)} with its readout there; activations of a circuit that nobody has learnt from reach {_n(reached)}. "
        f"{_beyond('|cosine| inside a circuit', above, len(trained))} "
        f"The gradient of each output is the readout ({_n(each)}, by construction); "
        f"eigenvectors of the Gram matrix of all outputs span what is read and are mixtures of readouts ({_n(gram)})."
    )
    return Verdict(supported, words)


def _composition(of: Rows) -> Verdict:
    dictionaries = [one for one in of.rows if one.sees == "activations"]
    composed = [one for one in dictionaries if _beats(one, "composed", "product")]
    product = [one for one in dictionaries if _beats(one, "product", "composed")]
    neither = [one for one in dictionaries if one not in composed and one not in product]
    supported: Supported = "partly"
    if not product:
        supported = "yes" if composed else "no"
    elif not composed:
        supported = "no"
    told = lambda rows: "; ".join(_code(one) for one in rows) or "nowhere"
    transcoders = [one for one in of.rows if one.method == "transcoder"]
    hangs = (
        "Which code is found hangs on the number of active latents and on the width. " if supported == "partly" else ""
    )
    few = any(_ends(one.figures["composed"]) is None for one in dictionaries)
    look = "A first look: too few runs for intervals, so means are compared. " if few else ""
    words = (
        f"{look}{hangs}Combinations above values: {told(composed)}. Values above combinations: {told(product)}. "
        f"Neither beyond chance, or both alike: {told(neither)}."
    )
    if transcoders:
        words += f" A transcoder, which sees what is read: {told(transcoders)}."
    return Verdict(supported, words)


def _manifold(of: Rows) -> Verdict:
    tiled = [one for one in of.isolated("fine") if one.value("fvu") is not None]
    farthest = max((abs((one.value("fine") or 0.0) - 0.25) for one in tiled), default=1.0)
    worst = max((one.value("fvu") or 0.0 for one in tiled), default=1.0)
    above = [one for one in of.above("f1") if one in tiled]
    supported: Supported = "no"
    if worst < 0.1 and farthest < 0.25:
        supported = "partly" if any((one.value("f1") or 0.0) >= MOST for one in above) else "yes"
    shares = ", ".join(f"{one.called} {_n(one.value('fine'), 2)}" for one in tiled)
    lost = ", ".join(f"{one.called} {_n(one.value('lost_fine'), 2)} times their variance" for one in tiled)
    transcoder = next((one for one in of.rows if one.method == "transcoder"), None)
    words = (
        f"Dictionaries reconstruct the curve (FVU at most {_n(worst, 2)}) and put as many latents into the fine "
        f"quarter as it is long ({shares}; the model's windows 0.75, pieces of its gradient "
        f"{_n(of.value('pieces of the gradient', 'fine'), 2)}). What is lost of the outputs there: "
        f"{lost}. {_beyond('F1', above, len(tiled), 'latents moved along the curve')}"
    )
    if transcoder:
        words += (
            f" A transcoder of {transcoder.setting} reads the coarse part (lost "
            f"{_n(transcoder.value('lost_coarse'), 2)}) and not the fine one (lost "
            f"{_n(transcoder.value('lost_fine'), 2)}; {_n(transcoder.value('fine'), 2)} of its latents lie there)."
        )
    return Verdict(supported, words)


def _unused(of: Rows) -> Verdict:
    on, off = (next((one for one in of.rows if one.setting == f"{at} the curve"), None) for at in ("on", "off"))
    ratio, control = (one.value("off_on") or 0.0 if one else 0.0 for one in (on, off))
    low = on.figures["off_on"].ci_low if on and "off_on" in on.figures else None
    apart = ratio > control if low is None else low > control
    of_model = of.fact("error_off") / of.fact("error_on") if of.fact("error_on") else 0.0
    supported: Supported = "yes" if apart and ratio > 1.5 * of_model else "no"
    transcoder = next((one for one in of.rows if one.method.startswith("transcoder")), None)
    if supported == "yes" and transcoder and (transcoder.value("off_on") or 0.0) > 1.5 * of_model:
        supported = "partly" if of.value("gradient Gram matrix on the curve", "purity") < FOUND else "yes"
    pca = of.value("PCA", "purity")
    words = (
        f"A dictionary that saw the curve alone loses {_n(ratio, 2)} times as much of the outputs off it as on it; one "
        f"that saw independent x and y {_n(control, 2)} times, the model itself {_n(of_model, 2)} times: the "
        f"dictionary holds the curve, and the model does not."
    )
    if supported == "no":
        words = (
            f"A dictionary that saw the curve alone loses {_n(ratio, 2)} times as much of the outputs off it as on it, "
            f"one that saw independent x and y {_n(control, 2)} times, the model itself {_n(of_model, 2)} times: no "
            "sign that the dictionary holds the curve."
        )
    words += (
        f" Directions of gradients belong to x or to y (purity "
        f"{_n(of.value('gradient Gram matrix on the curve', 'purity'))}"
        f"); those of that dictionary do not ({_n(on.value('purity') if on else None)}), those of PCA nearly "
        f"({_n(pca)})."
    )
    if transcoder:
        words += f" {_of_transcoder(transcoder.value('off_on') or 0.0, of_model)}"
    return Verdict(supported, words)


def _of_transcoder(ratio: float, of_model: float) -> str:
    bound = "is bound to the curve as well" if ratio > 1.5 * of_model else "is not bound to the curve"
    return f"A transcoder, which sees the outputs, {bound}: {_n(ratio, 2)} times."


_VERDICTS: dict[str, Callable[[Rows], Verdict]] = {
    "unused": _unused,
    "manifold": _manifold,
    "composition": _composition,
    "scaffolding": _scaffolding,
    "superposed": _superposed,
}


def _isolated(of: Rows, measure: str) -> str:
    found = ", ".join(f"{one.called} {_n(one.value(measure), 2)}" for one in of.isolated(measure))
    return f"From activations alone: {found}."


def _beyond(measure: str, above: Sequence[MethodRow], n: int, random: str = "as many random directions") -> str:
    number = f"{len(above) or 'none'} of {n} {'is' if len(above) < 2 else 'are'}"
    names = ": " + ", ".join(one.called for one in above) if above else ""
    return f"By {measure}, {number} above what 95 % of draws of {random} reach{names}."


def _beats(row: MethodRow, one: str, other: str) -> bool:
    """Whether more of one is found than of the other, and more of it than by chance: their intervals lie apart, or
    where there are too few runs for any, their means."""
    this, that = row.figures[one], row.figures[other]
    value, lower, upper = this.value or 0.0, _ends(this), _ends(that)
    more = lower[0] > upper[1] if lower and upper else value > (that.value or 0.0)
    return value >= FEW and value > _high(this) and more


def _ends(figure: Figure) -> tuple[float, float] | None:
    """Both ends of an interval; the value where all of enough runs agree to the last digit, as when none of them finds
    anything: its difference from another figure is then as uncertain as that one. None of too few runs."""
    if figure.ci_low is not None and figure.ci_high is not None:
        return figure.ci_low, figure.ci_high
    return (figure.value or 0.0,) * 2 if figure.n_units >= LEAST_SEEDS else None


def _code(row: MethodRow) -> str:
    return (
        f"{row.called} (L0 {_n(row.value('l0'), 2)}; values {_n(row.value('product'), 2)}, combinations "
        f"{_n(row.value('composed'), 2)})"
    )


def _high(figure: Figure) -> float:
    return figure.controls.get(CHANCE_95, float("inf"))


def _n(value: float | None, digits: int = 3) -> str:
    return number(value, digits)
