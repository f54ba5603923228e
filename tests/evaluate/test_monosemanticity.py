"""Claims of the paper and what our figures say of them: by rules that can fail."""

import pytest

from sparselex.base.figures import Figure
from sparselex.evaluate.monosemanticity.claims import CLAIMS
from sparselex.evaluate.monosemanticity.found import claims_of
from sparselex.evaluate.monosemanticity.judges import FEWEST_CONCEPTS
from sparselex.evaluate.monosemanticity.records import Roles

ROLES = Roles(narrow="a0", main="a1", wide="a2", other_narrow="b0", other="b1", other_wide="b2")

GOOD = {
    "loss": {"core/loss_recovered_zero": (0.85, {}), "core/l0": (15.0, {})},
    "census": {"census/dead_share": (0.04, {}), "census/ultralow_share": (0.07, {})},
    "concepts": {"proxies/specific_share": (0.5, {"controls": {"neuron": 0.0}})},
    "neurons": {
        "neurons/aligned_share": (0.0, {"null": 0.0}),
        "neurons/n_large": (20.0, {"null": 12.0}),
        "neurons/correlation": (0.2, {"null": 0.05}),
    },
    "explanations": {"intervals/spearman_median": (0.7, {"controls": {"a1-neurons": 0.4}})},
    "logits": {"logits/accuracy_median": (0.7, {"null": 0.52, "controls": {"a1-neurons": 0.6}})},
    "random": {"intervals/spearman_median": (0.7, {"controls": {"a1-permuted": 0.9}})},
    "ablation": {"causal/used_share": (0.9, {"null": 0.05}), "causal/effect_ratio": (2.0, {"null": 1.0})},
    "pinned": {
        "pinned/more_than_random": (0.8, {"null": 0.1}),
        "pinned/raises_more_than_random": (0.8, {"null": 0.1}),
    },
    "universality": {"universality/b1/features": (0.7, {}), "universality/b1/neurons": (0.4, {})},
    "attribution": {
        "universality/b1/attribution_follows": (0.9, {}),
        "universality/b1/logit_weights_follow": (0.3, {}),
    },
    "splitting": {
        "splitting/a0/a1/close_split": (0.5, {"controls": {"siblings": 0.1}}),
        "splitting/a1/a2/close_split": (0.5, {"controls": {"siblings": 0.1}}),
    },
    "automata": {"automata/automata": (3.0, {"null": 0.0})},
}
"""Figures that bear each claim out: value and what else there is."""

POINTS = {"census/dead_share", "census/ultralow_share", "core/l0", "automata/automata"}
"""Those that need no interval: counts of all there are, and what says at which sparsity another figure was measured."""


def said(name: str, near: float | None = 0.01, without: str = "", **changed) -> str:
    """What is said of one claim with these figures in place of good ones; `near` is half of their intervals."""
    figures = {}
    for figure, (value, more) in (GOOD[name] | changed.get("figures", {})).items():
        ends = {} if near is None else {"ci_low": value - near, "ci_high": value + near}
        more = {key: one for key, one in more.items() if key != without}
        figures["a1", figure] = Figure(name=figure, value=value, n=100, definition="", **ends, **more)
    return next(one.reproduced for one in claims_of(figures, ROLES) if one.name == name)


def test_every_claim_is_tried_here():
    assert set(GOOD) == {one.name for one in CLAIMS}


@pytest.mark.parametrize("claim", GOOD)
def test_good_figures_bear_it_out_and_without_figures_nothing_is_claimed(claim):
    assert said(claim) == "yes"
    assert next(one.reproduced for one in claims_of({}, ROLES) if one.name == claim) == "open"


@pytest.mark.parametrize("claim", [name for name, figures in GOOD.items() if set(figures) - POINTS])
def test_without_intervals_nothing_is_claimed(claim):
    assert said(claim, near=None) == "open"


@pytest.mark.parametrize(
    ("claim", "without"),
    [(name, key) for name, figures in GOOD.items() for _, more in figures.values() for key in more],
)
def test_without_its_null_or_its_control_nothing_is_claimed(claim, without):
    assert said(claim, without=without) == "open"


def changed(claim: str, figure: str, value: float, **more) -> str:
    """What is said with another value of one figure, and with other nulls or controls."""
    return said(claim, figures={figure: (value, GOOD[claim][figure][1] | more)})


@pytest.mark.parametrize(
    ("claim", "figure", "value", "more", "expected"),
    [
        ("loss", "core/l0", 60.0, {}, "partly"),
        ("loss", "core/loss_recovered_zero", 0.79, {}, "no"),  # within its interval
        ("census", "census/dead_share", 0.3, {}, "partly"),
        ("census", "census/ultralow_share", 0.001, {}, "no"),
        ("concepts", "proxies/specific_share", (FEWEST_CONCEPTS - 1) / 100, {}, "partly"),
        ("concepts", "proxies/specific_share", 0.5, {"controls": {"neuron": 0.6}}, "partly"),
        ("neurons", "neurons/n_large", 12.0, {}, "partly"),  # as many as a random direction
        ("neurons", "neurons/aligned_share", 0.5, {}, "no"),
        ("explanations", "intervals/spearman_median", 0.3, {}, "no"),
        ("explanations", "intervals/spearman_median", 0.4, {}, "partly"),
        ("random", "intervals/spearman_median", 0.95, {}, "no"),
        ("logits", "logits/accuracy_median", 0.55, {}, "partly"),  # neurons are ahead
        ("logits", "logits/accuracy_median", 0.48, {"null": 0.4}, "no"),  # below chance
        ("ablation", "causal/used_share", 0.05, {}, "partly"),
        ("ablation", "causal/effect_ratio", 0.9, {}, "partly"),
        ("pinned", "pinned/more_than_random", 0.1, {}, "partly"),
        ("universality", "universality/b1/features", 0.5, {}, "partly"),
        ("universality", "universality/b1/features", 0.41, {}, "no"),
        ("attribution", "universality/b1/logit_weights_follow", 0.6, {}, "partly"),
        ("attribution", "universality/b1/attribution_follows", 0.3, {}, "no"),
        ("splitting", "splitting/a1/a2/close_split", 0.1, {}, "partly"),
        ("automata", "automata/automata", 0.0, {}, "no"),
        ("automata", "automata/automata", 3.0, {"null": 0.4}, "partly"),
    ],
)
def test_a_rule_fails_where_a_figure_does(claim, figure, value, more, expected):
    assert changed(claim, figure, value, **more) == expected


def test_that_widths_rise_is_said_only_where_all_are_known():
    figures = {
        (run, "core/loss_recovered_zero"): Figure(
            name="core/loss_recovered_zero", value=value, ci_low=value, ci_high=value, n=9, definition=""
        )
        for run, value in (("a0", 0.7), ("a1", 0.8), ("a2", 0.9))
    }
    figures["a1", "core/l0"] = Figure(name="core/l0", value=10.0, n=9, definition="")
    words = lambda known: next(one.verdict for one in claims_of(known, ROLES) if one.name == "loss")
    assert "over the widths it rises" in words(figures)
    assert "widths" not in words({key: one for key, one in figures.items() if key[0] != "a2"})


def test_figures_that_were_not_measured_are_rows_with_their_reason():
    missing = Figure(name="core/l0", failure="no text", n=0, definition="")
    (loss, *_) = claims_of({("a1", "core/l0"): missing}, ROLES)
    rows = {(row.run, row.words): row for row in loss.rows}
    assert rows["a1", "active latents of a token"].figure == missing and loss.reproduced == "open"
    assert rows["a0", "the same of the narrow dictionary"].figure is None
