"""The six questions that come first, answered in words made from figures, each with its evidence."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.formats import number, percent
from sparselex.base.intervals import LEAST_DOCUMENTS
from sparselex.evaluate.against_words import COMMAND, held_against, in_words, lines
from sparselex.evaluate.config import PAIR_LOOKUP, TOKEN_LOOKUP
from sparselex.evaluate.gathered import Gathered
from sparselex.evaluate.records import Answer, Comparison, Verdict

STABLE = "Is it stable?"
"""The question whether another seed finds the same."""

NOT_MEASURED = "Not measured."
"""The answer to what was not asked."""

_FVU, _RECOVERED, _EXPLAINED = "core/fvu", "core/loss_recovered_mean", "explained/loss_recovered_mean"
_USED = "causal/used_share"
_OF_EXPLAINED = {_EXPLAINED: "loss recovered", "explained/fvu": "FVU"}


class Known(NamedTuple):
    """What there is to answer from."""

    found: Gathered
    """Figures of the run."""

    compared: Sequence[Comparison]
    """These against all controls."""

    twins: Sequence[str]
    """Controls that are runs on random weights; the others stand in the dictionary's place."""

    is_twin: bool
    """Whether the run is itself such a control."""

    frozen: bool
    """Whether it, or a control, has a part that stayed as it was drawn: one that learns less."""

    values: Mapping[str, Mapping[str, float]]
    """What every control has, by control and figure."""

    def figure(self, name: str) -> Figure | None:
        """One of its figures, if that has a value."""
        return next((one for one in self.found.figures if one.name == name and one.value is not None), None)

    def failed(self, name: str) -> list[str]:
        """Why one of its figures has no value, where it is known."""
        return [one.failure for one in self.found.figures if one.name == name and one.failure]

    def verdict(self, figure: str, control: str) -> Verdict | None:
        """Whether the run is better than a control by a figure; None where it was not compared."""
        found = (one.verdict for one in self.compared if (one.figure, one.control) == (figure, control))
        return next(found, None)

    def beside(self, figure: str, *, random: bool) -> dict[str, float]:
        """What the controls on random weights have of a figure, or all the others."""
        values = {name: part[figure] for name, part in self.values.items() if figure in part}
        return {name: value for name, value in values.items() if (name in self.twins) == random}


def answers(known: Known) -> list[Answer]:
    """One for each question, in their order."""
    return [_reconstructs(known), _works(known), _uses(known), _explains(known), _stable(known), _not_measured(known)]


def _reconstructs(known: Known) -> Answer:
    question, fvu = "Does it reconstruct better than the controls?", known.figure(_FVU)
    if fvu is None:
        return Answer(question=question, answer=NOT_MEASURED, evidence=known.failed(_FVU))
    l0 = known.figure("core/l0")
    at = f" at {number(l0.value, 3)} active latents a token" if l0 else ""
    said = [_against(known, fvu, known.beside(_FVU, random=False))]
    said += [_ON_RANDOM[known.verdict(_FVU, name) or ""].format(name) for name in known.beside(_FVU, random=True)]
    return Answer(question=question, answer=" ".join(said), evidence=_lines(known, fvu, "FVU", more=at))


_ON_RANDOM = {
    "worse": "On random weights the same recipe reconstructs better still ({}).",
    "better": "On random weights the same recipe reconstructs worse ({}).",
    "undecided": "On random weights the same recipe reconstructs no worse beyond doubt ({}).",
    "": "The same recipe on random weights ({}) was not compared.",
}


def _against(known: Known, figure: Figure, values: Mapping[str, float]) -> str:
    """A figure against those of several controls in one sentence or two, the worst first."""
    if not values:
        return "There is no control to tell."
    by_verdict: dict[str, list[str]] = {}
    for name in values:
        by_verdict.setdefault(known.verdict(figure.name, name) or "", []).append(name)
    if by_verdict.keys() == {""}:
        better = [name for name, value in values.items() if _is_better(figure, value)]
        return f"Undecided: by value better than {len(better)} of {len(values)}, and {_too_few(figure)}."
    said = [f"{words} {', '.join(by_verdict[verdict])}" for verdict, words in _WORDS.items() if verdict in by_verdict]
    if by_verdict.keys() == {"better"}:
        said = [f"Yes, better than {', '.join(values)}"]
    return f"{'; '.join(said)}."


_WORDS = {
    "worse": "Worse than",
    "better": "Better than",
    "undecided": "Undecided against",
    "": "Not compared with",
}


def _is_better(figure: Figure, other: float) -> bool:
    value = figure.value or 0.0
    return value < other if figure.better == "lower" else value > other


def _too_few(figure: Figure) -> str:
    """Why a figure has no interval, and so no verdict."""
    n = number(figure.n_effective, 3)
    return (
        f"{figure.n_units:,} {figure.units} that count as {n} of one size are too few for a verdict "
        f"({LEAST_DOCUMENTS:g} are needed)"
    )


def _works(known: Known) -> Answer:
    question, recovered = "Does the model still work?", known.figure(_RECOVERED)
    loss, increase = known.figure("core/ce_loss"), known.figure("core/ce_increase")
    if recovered is None:
        answer = "Not told as a share." if increase else "Not measured."
    elif (share := recovered.value or 0.0) < 0:
        answer = "It is worse than with the site at its mean."
    else:
        answer = f"{percent(share)} of the loss that it has more with the site at its mean is recovered."
    controls = known.beside(_RECOVERED, random=False)
    if recovered and controls:
        said = _against(known, recovered, controls).removeprefix("Yes, ")
        answer += f" {said[:1].upper()}{said[1:]}"
    evidence = known.failed(_RECOVERED)
    if recovered:
        evidence += _lines(known, recovered, "loss recovered")
    if loss and increase:
        evidence.append(
            f"cross-entropy {number(loss.value)} nats a token, {_said(increase, 'higher by', ' nats')} with it"
        )
    return Answer(question=question, answer=answer, evidence=evidence)


def _uses(known: Known) -> Answer:
    question, share = "Does the model use its features?", known.figure(_USED)
    if share is None:
        todo = ["`sparselex effects` ablates each of them where it is active"]
        return Answer(question=question, answer=NOT_MEASURED, evidence=known.failed(_USED) or todo)
    by_chance = f"{percent(share.null or 0.0)} would by chance"
    told = {"beyond": "More than chance gives:", "below": "Fewer than chance gives:", "": "Not beyond chance:"}
    said = [
        f"{told[_beyond_null(share)]} for {percent(share.value or 0.0)} of latents the predictions change by more "
        f"without it than by random directions of its size ({by_chance})."
    ]
    if controls := known.beside(_USED, random=False):
        against = _against(known, share, controls).removeprefix("Yes, ")
        said.append(f"{against[:1].upper()}{against[1:]}")
    evidence = _lines(known, share, "share of latents whose ablation exceeds random directions", more=f"; {by_chance}")
    if specific := known.figure("causal/specific_share"):
        words = "share whose ablation exceeds their own direction added where they are silent, pair by pair"
        evidence += _lines(known, specific, words, more=f"; {percent(specific.null or 0.0)} would by chance")
    if effect := known.figure("causal/effect"):
        null = "" if effect.null is None else f"; random directions {number(effect.null)}"
        evidence += _lines(known, effect, "median effect, nats of KL divergence", more=null)
    return Answer(question=question, answer=" ".join(said), evidence=evidence)


def _explains(known: Known) -> Answer:
    question = "Do the explanations predict, beyond lookups of tokens and beyond another latent's?"
    spliced = [(name, words) for name, words in _OF_EXPLAINED.items() if known.figure(name)]
    scores = [one for one in known.found.figures if one.name.endswith("/f1_of_all") and one.value is not None]
    evidence = known.failed(_EXPLAINED)
    if not spliced and not scores:
        return Answer(question=question, answer=NOT_MEASURED, evidence=evidence)
    said = [f"Beyond {words}: {_beyond(known, lookup, spliced)}." for lookup, words in _LOOKUPS.items() if spliced]
    for name, words in spliced:
        if figure := known.figure(name):
            evidence += _lines(known, figure, f"{words} on what they predict")
    for score in scores:
        if own := known.figure(score.name.replace("/f1_of_all", "/own_share")):
            random = known.beside(own.name, random=True)
            beside = "".join(f" ({name}, on random weights, {percent(value)})" for name, value in random.items())
            said.append(f"Beyond another latent's: for {percent(own.value or 0.0)} of latents{beside}.")
            evidence += _lines(known, own, "share with F1 of 0.5 or more, and 0.05 above another latent's rule")
        null = "" if score.null is None else f"; another latent's rule {number(score.null)}"
        evidence += _lines(known, score, "median F1 of all latents", more=null)
    held = held_against(known.found.figures)
    if not known.is_twin or held:
        said.append(in_words(held))
    return Answer(question=question, answer=" ".join(said), evidence=evidence + lines(held))


_LOOKUPS = {TOKEN_LOOKUP: "a lookup of the token", PAIR_LOOKUP: "one of it and the token before"}


def _beyond(known: Known, lookup: str, spliced: Sequence[tuple[str, str]]) -> str:
    """By what the model then does, and by the activations themselves."""
    verdicts = {words: known.verdict(name, lookup) for name, words in spliced}
    found = {words: _VERDICTS[verdict] for words, verdict in verdicts.items() if verdict}
    if not found:
        figure = known.figure(spliced[0][0])
        compared = figure is not None and lookup in known.beside(figure.name, random=False)
        return f"undecided, as {_too_few(figure)}" if figure and compared else "not compared"
    if len(set(found.values())) == 1 and len(found) == len(verdicts):
        return next(iter(found.values()))
    return ", ".join(f"{said} by {words}" for words, said in found.items())


_VERDICTS = {"better": "yes", "worse": "no, worse", "undecided": "undecided"}


def _stable(known: Known) -> Answer:
    question = STABLE
    measured = [one for one in known.found.stability if one.value is not None]
    if not measured:
        elsewhere = known.found.stable_elsewhere
        todo = ["`sparselex sweep` with the run's own settings and two seeds or more trains it anew and compares"]
        todo += [f"its sweep compared seeds of other dictionaries: {', '.join(elsewhere)}"] if elsewhere else []
        return Answer(question=question, answer=NOT_MEASURED, evidence=todo)
    told = [_beyond_null(one) for one in measured]
    if all(one == "beyond" for one in told):
        answer = "Two seeds share more than two samples of activations do."
    elif "below" in told:
        answer = "By some measure two seeds share less than two samples of activations do."
    else:
        answer = "Undecided."
    said = [
        f"{one.name.rpartition('/')[2].replace('_', ' ')}: {_said(one, '').strip()}"
        + ("" if one.null is None else f"; two samples of activations {number(one.null, 3)}")
        for one in measured
    ]
    return Answer(question=question, answer=answer, evidence=said)


def _beyond_null(figure: Figure) -> str:
    """Where a figure of stability lies with its whole interval."""
    if figure.null is None or figure.ci_low is None or figure.ci_high is None:
        return ""
    return "beyond" if figure.ci_low > figure.null else "below" if figure.ci_high < figure.null else ""


def _not_measured(known: Known) -> Answer:
    missing = [f"{one.name}: {one.failure}" for one in known.found.figures if one.failure]
    missing += [f"{name}: {why}" for name, why in known.found.stale.items()]
    if known.figure(_FVU) is None and not any(_FVU in one for one in missing):
        missing.append("reconstruction, what the model then does, and controls: `sparselex evaluate`")
    if not known.twins and not known.is_twin:
        missing.append("a random twin: whether features of the model are better than those of noise is not known")
    if not known.found.stability:
        missing.append("stability between seeds of training, and other sparsities: `sparselex sweep`")
    if known.figure(_EXPLAINED) is None and not any("explained/" in one for one in missing):
        missing.append("what the explanations themselves recover of the model: `sparselex explain`, then `evaluate`")
    if not known.is_twin and not held_against(known.found.figures):
        missing.append(f"whether explanations are better than those of controls: {COMMAND}")
    if not known.frozen:
        missing.append("a control that learns less, a dictionary whose decoder stays frozen at random: `demo --frozen`")
    if known.figure(_USED) is None and not any("causal/" in one for one in missing):
        missing.append("whether the model uses each feature: `sparselex effects`")
    return Answer(question="What was not measured?", answer=_things(len(missing)), evidence=missing)


def _things(n: int) -> str:
    return f"{n} thing." if n == 1 else f"{n} things."


def _said(figure: Figure, name: str, unit: str = "") -> str:
    known = figure.ci_low is not None and figure.ci_high is not None
    ends = f" ({number(figure.ci_low)} to {number(figure.ci_high)})" if known else " (no interval)"
    return f"{name} {number(figure.value)}{unit}{ends}"


def _lines(known: Known, figure: Figure, name: str, *, more: str = "") -> list[str]:
    """What is said of a figure, and the same of everything that it is held against, with what is beyond doubt of the
    figure: a line, and one for models of random weights."""

    def values(*, random: bool) -> str:
        return ", ".join(
            f"{control} {number(value)}{_THAN.get(known.verdict(figure.name, control) or '', '')}"
            for control, value in known.beside(figure.name, random=random).items()
        )

    against, at_random = values(random=False), values(random=True)
    lines = [f"{_said(figure, name)}{more}{f'; against {against}' if against else ''}"]
    return lines + ([f"{name} of the same recipe on a model of random weights: {at_random}"] if at_random else [])


_THAN = {"better": " (better than it)", "worse": " (worse than it)", "undecided": " (undecided)"}
