"""By which rules our figures bear out what "Towards Monosemanticity" claims: each takes the figures and says whether,
and what they say."""

from collections.abc import Mapping
from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.monosemanticity.records import Reproduced, Roles

FEWEST_CONCEPTS = 5
"""Concepts that need a feature of high specificity."""

PAPER_LOSS, MOST_L0 = 0.79, 20.0
"""Share of the loss that the paper's 4,096 latents recover, and the active latents of a token that it aims below."""

FEW_DEAD = 0.1
"""Share of dead latents that is still like the paper's 4 %."""

NEAR_LATENTS = 0.6
"""Median correlation of latents with their nearest that is still like the paper's 0.72."""


class Verdict(NamedTuple):
    """Whether a claim is borne out, and what the figures say."""

    reproduced: Reproduced
    words: str


NOT_MEASURED = Verdict("open", "Not measured.")
"""What is said where a figure is missing."""


class Found:
    """The figures of the claims by role and name, where they were measured."""

    def __init__(self, figures: Mapping[tuple[str, str], Figure], roles: Roles):
        self._figures, self._names = figures, roles.to_json()

    def figure(self, role: str, name: str) -> Figure | None:
        """A figure that has a value; None where there is none."""
        found = self._figures.get((self._names[role], name.format(**self._names)))
        return None if found is None or found.value is None else found

    def beside_control(self, name: str, kind: str) -> tuple[Figure | None, float | None]:
        """A figure of the run that is looked at, and the same of its control of that kind."""
        found = self.figure("main", name)
        return found, None if found is None else found.controls.get(f"{self._names['main']}-{kind}")

    def value(self, role: str, name: str) -> float | None:
        """Its value."""
        found = self.figure(role, name)
        return None if found is None else found.value


def loss(found: Found) -> Verdict:
    """As much of the loss is recovered as in the paper, with as few active latents."""
    name = "core/loss_recovered_zero"
    main, l0 = found.value("main", name), found.value("main", "core/l0")
    if main is None or l0 is None:
        return NOT_MEASURED
    known = [value for role in ("narrow", "main", "wide") if (value := found.value(role, name)) is not None]
    widths = "rises" if known == sorted(known) else "does not rise"
    said = f"{number(main, 2)} of the loss is recovered with {number(l0, 2)} active latents a token"
    return Verdict(_of_two(main >= PAPER_LOSS, l0 <= MOST_L0), f"{said}; over the widths it {widths}.")


def census(found: Found) -> Verdict:
    """Few latents are dead, and there is a second cluster."""
    dead, low = found.value("main", "census/dead_share"), found.value("main", "census/ultralow_share")
    if dead is None or low is None:
        return NOT_MEASURED
    said = f"{_percent(dead)} are dead and {_percent(low)} in a second cluster of very low density"
    return Verdict(_of_two(dead < FEW_DEAD, low > 0), f"{said}.")


def concepts(found: Found) -> Verdict:
    """Enough concepts have a feature that is specific to them, more than have a neuron."""
    share = found.figure("main", "proxies/specific_share")
    if share is None:
        return NOT_MEASURED
    n, neurons = _number_of(share, share.value), _number_of(share, share.controls.get("neuron"))
    said = f"{n} of {share.n} concepts have a feature of specificity above 0.9 where highly active, {neurons} a neuron"
    return Verdict(_of_two(n >= FEWEST_CONCEPTS, _low(share) > share.controls.get("neuron", 0.0)), f"{said}.")


def neurons(found: Found) -> Verdict:
    """Hardly any latent is one neuron, and their best neurons correlate weakly."""
    aligned, correlation = (found.value("main", f"neurons/{name}") for name in ("aligned_share", "correlation"))
    large = found.value("main", "neurons/n_large")
    if aligned is None or large is None or correlation is None:
        return NOT_MEASURED
    said = (
        f"{_percent(aligned)} are one neuron; the median latent has {number(large, 2)} coefficients of 0.1 or more, "
        f"and its best neuron correlates by {number(correlation, 2)}"
    )
    return Verdict(_of_two(aligned < 0.05, correlation < 0.5), f"{said}.")


def against_neurons(found: Found) -> Verdict:
    """Rules of latents follow activations more closely than those of neurons."""
    return _beside(found, "neurons", "neurons", ahead="yes", behind="no")


def shuffled_weights(found: Found) -> Verdict:
    """Rules of latents of shuffled weights follow activations more closely: what the paper found."""
    return _beside(found, "permuted", "latents of shuffled weights", ahead="no", behind="yes")


def _beside(found: Found, kind: str, words: str, ahead: Reproduced, behind: Reproduced) -> Verdict:
    """Rank correlations of rules and activations beside those of the control of that kind."""
    ours, theirs = found.beside_control("intervals/spearman_median", kind)
    if ours is None or theirs is None:
        return NOT_MEASURED
    said = f"Median rank correlation of rule and activation: {number(ours.value, 2)}, of {words} {number(theirs, 2)}."
    return Verdict(ahead if _low(ours) > theirs else behind if _high(ours) < theirs else "partly", said)


def logits(found: Found) -> Verdict:
    """Explanations tell which tokens are raised, better than chance and than another latent's."""
    ours = found.figure("main", "logits/accuracy_median")
    if ours is None:
        return NOT_MEASURED
    said = (
        f"Explanations tell raised tokens from others in {_percent(ours.value)}, another latent's in "
        f"{_percent(ours.null)}."
    )
    return Verdict(_beyond(ours, ours.null if ours.null is not None else 0.5), said)


def ablation(found: Found) -> Verdict:
    """More latents than by chance change predictions by more than random directions."""
    used = found.figure("main", "causal/used_share")
    if used is None or used.null is None:
        return NOT_MEASURED
    said = (
        f"{_percent(used.value)} change predictions by more than random directions of their size do (chance "
        f"{_percent(used.null)})."
    )
    return Verdict(_beyond(used, used.null), said)


def pinned(found: Found) -> Verdict:
    """Latents that are held are active on what is written, and their tokens are written."""
    active, raised = (
        found.figure("main", f"pinned/{name}") for name in ("more_than_random", "raises_more_than_random")
    )
    if active is None or raised is None:
        return NOT_MEASURED
    said = (
        f"Held at their largest activation, {_percent(active.value)} of latents are active on more of what is written "
        f"than under another latent, {_percent(active.null)} on less; of their raised tokens {_percent(raised.value)} "
        f"have more, {_percent(raised.null)} fewer."
    )
    return Verdict(_of_two(*(_low(one) > (one.null or 0.0) for one in (active, raised))), said)


def universality(found: Found) -> Verdict:
    """Latents are more universal than neurons beyond both intervals, and about as much as in the paper."""
    ours, theirs = (found.figure("main", "universality/{other}/" + name) for name in ("features", "neurons"))
    if ours is None or theirs is None:
        return NOT_MEASURED
    above = _low(ours) > _high(theirs)
    apart = "above by their intervals" if above else "not above by their intervals"
    said = (
        f"Median correlation with the nearest: latents {number(ours.value, 2)}, neurons "
        f"{number(theirs.value, 2)}, {apart}."
    )
    return Verdict("no" if not above else "yes" if (ours.value or 0.0) >= NEAR_LATENTS else "partly", said)


def attribution(found: Found) -> Verdict:
    """Attributions follow activations more closely than logit weights do."""
    names = ("attribution_follows", "logit_weights_follow")
    follows, weights = (found.figure("main", "universality/{other}/" + name) for name in names)
    if follows is None or weights is None:
        return NOT_MEASURED
    said = (
        f"Rank correlation with activations over latents: attributions {number(follows.value, 2)}, logit "
        f"weights {number(weights.value, 2)}."
    )
    return Verdict("yes" if _low(follows) > _high(weights) else "no", said)


def splitting(found: Found) -> Verdict:
    """Narrow latents have several close wide ones, more than they have in their own dictionary."""
    first = found.figure("main", "splitting/{narrow}/{main}/close_split")
    second = found.figure("main", "splitting/{main}/{wide}/close_split")
    if first is None:
        return NOT_MEASURED
    own = first.controls.get("siblings", 0.0)
    said = (
        f"{_percent(first.value)} of the narrow latents have two close wide ones or more, {_percent(own)} as "
        f"close in their own dictionary"
    )
    if second is not None:
        said += f"; at the next step {_percent(second.value)}, {_percent(second.controls.get('siblings', 0.0))}"
    return Verdict(_beyond(first, own), f"{said}.")


def automata(found: Found) -> Verdict:
    """There are automata, more than in shuffled text."""
    known = [one for role in ("narrow", "main") if (one := found.figure(role, "automata/automata")) is not None]
    if not known:
        return NOT_MEASURED
    n, chance = (round(sum(values)) for values in zip(*((one.value or 0, one.null or 0) for one in known), strict=True))
    return Verdict("yes" if n > chance else "no", f"{n} of two states or more, {chance} in shuffled text.")


def _of_two(one: bool, other: bool) -> Reproduced:
    return "yes" if one and other else "partly" if one or other else "no"


def _beyond(figure: Figure, null: float) -> Reproduced:
    return "yes" if _low(figure) > null else "no"


def _low(figure: Figure) -> float:
    """The lower end of the interval; where there is none nothing is beyond anything."""
    return figure.ci_low if figure.ci_low is not None else float("-inf")


def _high(figure: Figure) -> float:
    return figure.ci_high if figure.ci_high is not None else float("inf")


def _number_of(share: Figure, value: float | None) -> int:
    return round((value or 0.0) * share.n)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{number(100 * share, 2)} %"
