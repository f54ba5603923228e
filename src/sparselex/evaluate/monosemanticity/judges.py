"""By which rules our figures bear out what "Towards Monosemanticity" claims: each takes the figures and says whether,
and what they say."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.monosemanticity.records import Reproduced, Roles

FEWEST_CONCEPTS = 5
"""Concepts that need a feature of high specificity."""

PAPER_LOSS, MOST_L0 = 0.79, 20.0
"""Share of the loss that the paper's 4,096 latents recover, and the active latents of a token that it aims below."""

FEW_DEAD, SECOND_CLUSTER = 0.1, 0.01
"""Share of dead latents that is still like the paper's 4 %, and share of latents that make a second cluster."""

FEW_ALIGNED, WEAKLY = 0.05, 0.5
"""Share of latents that may be one neuron each, and correlation with the best neuron that is still weak."""

NEAR_LATENTS = 0.6
"""Median correlation of latents with their nearest that is still like the paper's 0.72."""

CLOSELY, HARDLY = 0.8, 0.5
"""Rank correlations from which one thing follows another closely, and below which it hardly does."""


class Verdict(NamedTuple):
    """Whether a claim is borne out, and what the figures say."""

    reproduced: Reproduced
    words: str


NOT_MEASURED = Verdict("open", "Not measured.")
"""What is said where a figure is missing."""

NO_INTERVAL = Verdict("open", "Measured, and too few documents or latents for an interval: nothing can be said.")
"""What is said where a figure has no interval, so that nobody knows beyond what it lies."""


class Ends(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float
    null: float | None
    controls: Mapping[str, float]


class Missing(Exception):
    """A claim cannot be judged."""

    def __init__(self, verdict: Verdict):
        super().__init__(verdict.words)
        self.verdict = verdict


class Found:
    """The figures of the claims by role and name, where they were measured."""

    def __init__(self, figures: Mapping[tuple[str, str], Figure], roles: Roles):
        self._figures, self.names = figures, roles.to_json()

    def known(self, role: str, name: str) -> Figure | None:
        """A figure that has a value; None where there is none."""
        found = self._figures.get((self.names[role], name.format(**self.names)))
        return None if found is None or found.value is None else found

    def value(self, role: str, name: str) -> float:
        """A value. Raises `Missing` where there is none."""
        found = self.known(role, name)
        if found is None or found.value is None:
            raise Missing(NOT_MEASURED)
        return found.value

    def ends(self, role: str, name: str) -> Ends:
        """A figure with its interval. Raises `Missing` where there is none, or no interval."""
        value, found = self.value(role, name), self.known(role, name)
        assert found is not None
        if found.ci_low is None or found.ci_high is None:
            raise Missing(NO_INTERVAL)
        return Ends(value, found.ci_low, found.ci_high, found.null, found.controls)

    def control(self, name: str, kind: str) -> float:
        """A figure of the control of that kind of the run that is looked at, as it stands beside the run's own. Raises
        `Missing` where there is none."""
        found = self.known("main", name)
        return there(None if found is None else found.controls.get(f"{self.names['main']}-{kind}"))


def there(value: float | None) -> float:
    """A null or a control. Raises `Missing` where it was not measured: nothing is held against nothing."""
    if value is None:
        raise Missing(NOT_MEASURED)
    return value


def judged(judge: Callable[[Found], Verdict], found: Found) -> Verdict:
    """What a rule says, or that it cannot say anything."""
    try:
        return judge(found)
    except Missing as missing:
        return missing.verdict


def loss(found: Found) -> Verdict:
    """As much of the loss is recovered as in the paper, beyond doubt, and with as few active latents."""
    main, l0 = found.ends("main", "core/loss_recovered_zero"), found.value("main", "core/l0")
    widths = [found.known(role, "core/loss_recovered_zero") for role in ("narrow", "main", "wide")]
    known = [one.value or 0.0 for one in widths if one is not None]
    rises = f"; over the widths it {'rises' if known == sorted(known) else 'does not rise'}" if len(known) == 3 else ""
    said = f"{number(main.value, 2)} of the loss is recovered with {number(l0, 2)} active latents a token{rises}."
    return Verdict("no" if main.low < PAPER_LOSS else "yes" if l0 <= MOST_L0 else "partly", said)


def census(found: Found) -> Verdict:
    """There is a second cluster, and few latents are dead."""
    dead, low = found.value("main", "census/dead_share"), found.value("main", "census/ultralow_share")
    said = f"{_percent(dead)} are dead and {_percent(low)} in a second cluster of very low density."
    return Verdict("no" if low < SECOND_CLUSTER else "yes" if dead < FEW_DEAD else "partly", said)


def concepts(found: Found) -> Verdict:
    """Enough concepts have a feature that is specific to them, more than have a neuron."""
    share, n = found.ends("main", "proxies/specific_share"), found.known("main", "proxies/specific_share")
    assert n is not None
    neurons = there(share.controls.get("neuron"))
    has = round(share.value * n.n)
    said = (
        f"{has} of {n.n} concepts have a feature of specificity above 0.9 where highly active, "
        f"{round(neurons * n.n)} a neuron."
    )
    return Verdict(_of_two(has >= FEWEST_CONCEPTS, share.low > neurons), said)


def neurons(found: Found) -> Verdict:
    """Hardly any latent is one neuron, they are spread over more neurons than random directions have large coefficients
    on, and their best neurons correlate weakly."""
    aligned, large, best = (
        found.ends("main", f"neurons/{name}") for name in ("aligned_share", "n_large", "correlation")
    )
    said = (
        f"{_percent(aligned.value)} are one neuron; the median latent has {number(large.value, 2)} coefficients of 0.1 "
        f"or more, a random direction {number(there(large.null), 2)}; its best neuron correlates by "
        f"{number(best.value, 2)}."
    )
    apart = aligned.high < FEW_ALIGNED and best.high < WEAKLY
    return Verdict(_of_two(apart, large.low > there(large.null)) if apart else "no", said)


def against_neurons(found: Found) -> Verdict:
    """Rules of latents follow activations more closely than those of neurons."""
    return _beside(found, "neurons", "neurons", ahead="yes", behind="no")


def shuffled_weights(found: Found) -> Verdict:
    """Rules of latents of shuffled weights follow activations more closely: what the paper found."""
    return _beside(found, "permuted", "latents of shuffled weights", ahead="no", behind="yes")


def _beside(found: Found, kind: str, words: str, ahead: Reproduced, behind: Reproduced) -> Verdict:
    """Rank correlations of rules and activations beside those of the control of that kind."""
    ours, theirs = found.ends("main", _SPEARMAN), found.control(_SPEARMAN, kind)
    said = f"Median rank correlation of rule and activation: {number(ours.value, 2)}, of {words} {number(theirs, 2)}."
    return Verdict(ahead if ours.low > theirs else behind if ours.high < theirs else "partly", said)


_SPEARMAN = "intervals/spearman_median"


def logits(found: Found) -> Verdict:
    """Explanations tell which tokens are raised, better than chance, than another latent's, than those of neurons."""
    ours, theirs = found.ends("main", _ACCURACY), found.control(_ACCURACY, "neurons")
    chance = max(0.5, there(ours.null))
    said = (
        f"Explanations tell raised tokens from others in {_percent(ours.value)}, another latent's in "
        f"{_percent(ours.null)}, those of neurons in {_percent(theirs)}."
    )
    return Verdict("no" if ours.low <= chance else "yes" if ours.low > theirs else "partly", said)


_ACCURACY = "logits/accuracy_median"


def ablation(found: Found) -> Verdict:
    """More latents than by chance change predictions by more than random directions, and the median one does."""
    used, ratio = (found.ends("main", f"causal/{name}") for name in ("used_share", "effect_ratio"))
    said = (
        f"{_percent(used.value)} change predictions by more than random directions of their size do (chance "
        f"{_percent(used.null)}); the median latent by {number(ratio.value, 2)} times as much."
    )
    return Verdict(_of_two(used.low > there(used.null), ratio.low > 1), said)


def pinned(found: Found) -> Verdict:
    """Latents that are held are active on what is written, and their tokens are written."""
    active, raised = (found.ends("main", f"pinned/{name}") for name in ("more_than_random", "raises_more_than_random"))
    said = (
        f"Held at their largest activation, {_percent(active.value)} of latents are active on more of what is written "
        f"than under another latent, {_percent(active.null)} on less; of their raised tokens {_percent(raised.value)} "
        f"have more, {_percent(raised.null)} fewer."
    )
    return Verdict(_of_two(*(one.low > there(one.null) for one in (active, raised))), said)


def universality(found: Found) -> Verdict:
    """Latents are more universal than neurons beyond both intervals, and about as much as in the paper."""
    ours, theirs = (found.ends("main", "universality/{other}/" + name) for name in ("features", "neurons"))
    above = ours.low > theirs.high
    said = (
        f"Median correlation with the nearest: latents {number(ours.value, 2)}, neurons {number(theirs.value, 2)}, "
        f"{'above' if above else 'not above'} by their intervals."
    )
    return Verdict("no" if not above else "yes" if ours.value >= NEAR_LATENTS else "partly", said)


def attribution(found: Found) -> Verdict:
    """Attributions follow activations closely, logit weights hardly."""
    names = ("attribution_follows", "logit_weights_follow")
    follows, weights = (found.ends("main", "universality/{other}/" + name) for name in names)
    said = (
        f"Rank correlation with activations over latents: attributions {number(follows.value, 2)}, logit weights "
        f"{number(weights.value, 2)}."
    )
    both = follows.low > CLOSELY and weights.high < HARDLY
    return Verdict("no" if follows.low <= weights.high else "yes" if both else "partly", said)


def splitting(found: Found) -> Verdict:
    """Narrow latents have several close wide ones, more than they have in their own dictionary, at both steps."""
    steps = [found.ends("main", f"splitting/{step}/close_split") for step in ("{narrow}/{main}", "{main}/{wide}")]
    own = [there(one.controls.get("siblings")) for one in steps]
    said = (
        f"{_percent(steps[0].value)} of the narrow latents have two close wide ones or more, {_percent(own[0])} as "
        f"close in their own dictionary; at the next step {_percent(steps[1].value)}, {_percent(own[1])}."
    )
    return Verdict(_of_two(*(one.low > siblings for one, siblings in zip(steps, own, strict=True))), said)


def automata(found: Found) -> Verdict:
    """There are automata, and none in shuffled text. Counts have no interval: each lead is above all its shuffles."""
    known = [one for role in ("narrow", "main") if (one := found.known(role, "automata/automata")) is not None]
    if not known:
        return NOT_MEASURED
    n, chance = sum(one.value or 0.0 for one in known), sum(there(one.null) for one in known)
    said = f"{n:g} of two states or more, {chance:g} in shuffled text."
    return Verdict("no" if n <= chance or n < 1 else "partly" if chance > 0 else "yes", said)


def _of_two(one: bool, other: bool) -> Reproduced:
    return "yes" if one and other else "partly" if one or other else "no"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{number(100 * share, 2)} %"
