"""The five questions that come first, answered in words made from figures, each with its evidence."""

from collections.abc import Sequence
from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.formats import number, percent
from sparselex.evaluate.config import TOKEN_LOOKUP
from sparselex.evaluate.gathered import Gathered
from sparselex.evaluate.records import Answer, Comparison

_FVU, _RECOVERED, _EXPLAINED = "core/fvu", "core/loss_recovered_mean", "explained/loss_recovered_mean"
_EXPLAINED_FVU = "explained/fvu"


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

    other: bool
    """Whether another recipe on the same model, such as one whose decoder is frozen, is among the controls."""

    def figure(self, name: str) -> Figure | None:
        """One of its figures, if that has a value."""
        return next((one for one in self.found.figures if one.name == name and one.value is not None), None)

    def against(self, name: str) -> list[Comparison]:
        """Comparisons of one figure with what stands in the dictionary's place."""
        return [one for one in self.compared if one.figure == name and one.control not in self.twins]


def answers(known: Known) -> list[Answer]:
    """One for each question, in their order."""
    return [_reconstructs(known), _works(known), _explains(known), _stable(known), _not_measured(known)]


def _reconstructs(known: Known) -> Answer:
    question, against = "Does it reconstruct better than the controls?", known.against(_FVU)
    fvu = known.figure(_FVU)
    if fvu is None or not against:
        return Answer(question=question, answer="Not measured.", evidence=_reasons(known, _FVU))
    lists = {verdict: [one.control for one in against if one.verdict == verdict] for verdict in _WORDS}
    if not lists["worse"] and not lists["undecided"]:
        answer = f"Yes, better than all {len(against)}."
    else:
        answer = " ".join(
            f"{words}: {', '.join(lists[verdict])}." for verdict, words in _WORDS.items() if lists[verdict]
        )
    l0 = known.figure("core/l0")
    at = f" at {number(l0.value, 3)} active latents a token" if l0 else ""
    return Answer(question=question, answer=answer, evidence=_beside(known, fvu, f"{_said(fvu, 'FVU')}{at}"))


_WORDS = {"better": "Better than", "worse": "Worse than", "undecided": "Undecided against"}


def _works(known: Known) -> Answer:
    question, recovered = "Does the model still work?", known.figure(_RECOVERED)
    loss, increase = known.figure("core/ce_loss"), known.figure("core/ce_increase")
    if recovered is None:
        answer = "Not measured as a share." if increase else "Not measured."
    else:
        answer = f"It keeps {percent(recovered.value or 0.0)} of what it loses with the site at its mean."
    evidence = _reasons(known, _RECOVERED)
    if recovered:
        evidence += _beside(known, recovered, _said(recovered, "loss recovered"))
    if loss and increase:
        evidence.append(f"cross-entropy {number(loss.value)} nats a token, and {_said(increase, 'more by', ' nats')}")
    return Answer(question=question, answer=answer, evidence=evidence)


def _explains(known: Known) -> Answer:
    question = "Do the explanations predict, beyond a token lookup and beyond another latent's?"
    spliced = known.figure(_EXPLAINED)
    scores = [one for one in known.found.figures if one.name.endswith("/f1_of_all") and one.value is not None]
    if spliced is None and not scores:
        return Answer(question=question, answer="Not measured.", evidence=_reasons(known, _EXPLAINED))
    said, evidence = [], _reasons(known, _EXPLAINED)
    if spliced:
        said.append(f"Beyond a token lookup: {_beyond_lookup(known)}.")
        evidence += _beside(known, spliced, f"the model on what they predict: {_said(spliced, 'loss recovered')}")
    if fvu := known.figure(_EXPLAINED_FVU):
        evidence += _beside(known, fvu, f"these predictions themselves: {_said(fvu, 'FVU')}")
    for score in scores:
        if own := known.figure(score.name.replace("/f1_of_all", "/own_share")):
            said.append(f"Beyond another latent's: for {percent(own.value or 0.0)} of latents.")
            evidence.append(_said(own, "share with F1 of 0.5 or more, and 0.05 above another latent's rule"))
        null = "" if score.null is None else f"; another latent's rule {number(score.null)}"
        evidence += _beside(known, score, f"{_said(score, 'median F1 of all latents')}{null}")
    return Answer(question=question, answer=" ".join(said), evidence=evidence)


def _beyond_lookup(known: Known) -> str:
    """By what the model then does, and by the activations themselves."""
    verdicts = {
        words: one.verdict
        for name, words in ((_EXPLAINED, "loss recovered"), (_EXPLAINED_FVU, "FVU"))
        for one in known.against(name)
        if one.control == TOKEN_LOOKUP
    }
    if len(set(verdicts.values())) == 1:
        return _VERDICTS[next(iter(verdicts.values()))]
    return ", ".join(f"{_VERDICTS[verdict]} by {words}" for words, verdict in verdicts.items()) or "not compared"


_VERDICTS = {"better": "yes", "worse": "worse than it", "undecided": "undecided"}


def _stable(known: Known) -> Answer:
    question = "Is it stable?"
    measured = [one for one in known.found.stability if one.value is not None]
    if not measured:
        todo = "`sparselex sweep WORKSPACE --seed 0 --seed 1` trains it from two seeds and compares them"
        return Answer(question=question, answer="Not measured.", evidence=[todo])
    least = min(measured, key=lambda one: (one.value or 0.0) - (one.null or 0.0))
    above = least.ci_low is not None and least.null is not None and least.ci_low > least.null
    answer = "More than activations themselves between two samples." if above else "Not beyond its null."
    said = [
        f"{one.name.removeprefix('stability/')}: {_said(one, 'found again')}"
        + ("" if one.null is None else f"; activations of two samples {number(one.null, 3)}")
        for one in measured
    ]
    return Answer(question=question, answer=answer, evidence=said)


def _not_measured(known: Known) -> Answer:
    missing = [f"{one.name}: {one.failure}" for one in known.found.figures if one.failure]
    if not known.twins and not known.is_twin:
        missing.append("a random twin: whether features of the model are better than those of noise is not known")
    if not known.found.stability:
        missing.append("stability between seeds of training, and other sparsities: `sparselex sweep`")
    if known.figure(_EXPLAINED) is None and not any("explained/" in one for one in missing):
        missing.append("what the explanations themselves recover of the model")
    if not known.other:
        missing.append("a control that learns less, such as a dictionary whose decoder stays frozen at random")
    missing.append("whether the model uses a feature: no figure here is of an intervention on single features")
    words = "thing" if len(missing) == 1 else "things"
    return Answer(question="What was not measured?", answer=f"{len(missing)} {words}.", evidence=missing)


def _said(figure: Figure, name: str, unit: str = "") -> str:
    known = figure.ci_low is not None and figure.ci_high is not None
    ends = f" ({number(figure.ci_low)} to {number(figure.ci_high)})" if known else " (no interval)"
    return f"{name} {number(figure.value)}{unit}{ends}"


def _beside(known: Known, figure: Figure, said: str) -> list[str]:
    """What is said of a figure, and the same of everything that it is held against, with the direction of what is
    beyond doubt: a line, and one for models of random weights."""

    def values(*, random: bool) -> str:
        compared = [one for one in known.compared if one.figure == figure.name]
        return ", ".join(
            f"{one.control} {number((figure.value or 0.0) - one.difference)} ({one.verdict})"
            for one in compared
            if (one.control in known.twins) == random
        )

    against, at_random = values(random=False), values(random=True)
    lines = [f"{said}; against {against}" if against else said]
    return lines + ([f"the same recipe on a model of random weights: {at_random}"] if at_random else [])


def _reasons(known: Known, name: str) -> list[str]:
    """Why a figure has no value, where it is known."""
    return [one.failure for one in known.found.figures if one.name == name and one.failure]
