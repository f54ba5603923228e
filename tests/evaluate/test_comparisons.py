"""One dictionary against its controls: direction, pairing, and many questions counted as many."""

import numpy as np
import pytest

from sparselex.base.estimates import estimate
from sparselex.base.figures import Figure
from sparselex.evaluate.comparisons import Control, comparisons
from sparselex.evaluate.gathered import Gathered
from sparselex.evaluate.records import Influences
from sparselex.evaluate.verdicts import verdicts

NAMES = {"core/fvu": "lower", "core/loss_recovered_mean": "higher", "core/kl": "lower", "core/cosine": "higher"}
N = 60


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def measured(rng, shift=0.0, common=None):
    """Figures over documents, which are alike to all that are measured on them; `shift` makes all of them better."""
    figures, influences = [], {}
    for name, better in NAMES.items():
        each = (0 if common is None else common) + rng.normal(0.5, 0.05, N) + shift * (1 if better == "higher" else -1)
        lengths = rng.integers(50, 100, N) if common is None else np.full(N, 70)
        sums = np.column_stack([each * lengths, lengths]).astype(float)
        found = estimate(name, sums, ratio, "x", over="documents", sizes=sums[:, 1], better=better, least=30.0)
        figures.append(found.figure)
        influences[name] = found.jackknife.influences.tolist()
    return figures, influences


def held_against(rng, shifts, common=None):
    """A dictionary and one control for each shift."""
    figures, own = measured(rng, common=common)
    others = {f"c{place}": measured(rng, shift, common) for place, shift in enumerate(shifts)}
    documents = [f"d{n}" for n in range(N)]
    kept = Influences(
        rows="same", documents=documents, subjects={"": own} | {name: part for name, (_, part) in others.items()}
    )
    controls = {name: Control({f.name: f for f in part}, kept, name) for name, (part, _) in others.items()}
    return figures, kept, controls


def test_they_say_which_is_better():
    found = comparisons(*held_against(np.random.default_rng(0), [0.2, -0.2, 0.0]))
    by_control = {name: {one.verdict for one in found if one.control == name} for name in ("c0", "c1", "c2")}
    assert by_control == {"c0": {"worse"}, "c1": {"better"}, "c2": {"undecided"}}
    fvu = next(one for one in found if one.control == "c0" and one.figure == "core/fvu")
    assert fvu.paired and fvu.low < fvu.difference < fvu.high and fvu.difference == pytest.approx(0.2, abs=0.05)


def test_equal_ones_are_told_apart_in_at_most_one_report_of_twenty():
    """Over all comparisons of a report together."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(400):
        common = rng.normal(0, 0.2, N) if rng.random() < 0.5 else None
        wrong += any(one.verdict != "undecided" for one in comparisons(*held_against(rng, [0.0] * 4, common)))
    assert wrong / 400 <= 0.07  # 0.05, and what 400 reports are uncertain by


def test_what_moves_both_alike_does_not_hide_a_difference():
    rng = np.random.default_rng(2)
    figures, kept, controls = held_against(rng, [0.05], common=rng.normal(0, 0.5, N))
    assert {one.verdict for one in comparisons(figures, kept, controls)} == {"worse"}
    elsewhere = kept.model_copy(update={"rows": "others of the same documents"})
    apart = comparisons(figures, kept, {name: one._replace(influences=elsewhere) for name, one in controls.items()})
    assert {(one.verdict, one.paired) for one in apart} == {("undecided", False)}
    assert {one.paired for one in comparisons(figures, None, controls)} == {False}


def test_only_what_has_a_better_and_an_interval_is_compared():
    figures, kept, controls = held_against(np.random.default_rng(3), [0.0])
    without = [
        figures[0].model_copy(update={"better": ""}),
        figures[1].model_copy(update={"ci_low": None}),
        *figures[2:],
    ]
    assert [one.figure for one in comparisons(without, kept, controls)] == ["core/kl", "core/cosine"]
    failed = {"core/kl": Figure(name="core/kl", definition="x", failure="x")}
    assert comparisons(figures, kept, {"c0": Control(failed, kept, "c0")}) == []


def said(shifts, *, l0=30.0, asked=32.0, has_twin=True):
    figures, kept, controls = held_against(np.random.default_rng(4), shifts)
    figures.append(Figure(name="core/l0", value=l0, definition="x"))
    of_controls = {name: list(one.figures.values()) for name, one in controls.items()}
    found = Gathered(figures, of_controls, kept, [], [], asked, [])
    words = {name: f"control {name}" for name in controls}
    return verdicts(found, comparisons(figures, kept, controls), words, has_twin=has_twin)


def test_a_dictionary_that_loses_is_told_so_first():
    found = said([-0.2, 0.2])
    assert found[0].startswith("This dictionary loses to control c1: fvu 0.49") and "against 0.29" in found[0]
    assert found[1].startswith("This dictionary loses to control c1: loss recovered mean")
    assert found[2] == "Better than control c0: fvu, loss recovered mean, kl, cosine."
    assert found[3] == "Worse than control c1: fvu, loss recovered mean, kl, cosine."
    assert said([0.0]) == ["Undecided against control c0: fvu, loss recovered mean, kl, cosine."]


def test_a_twin_has_its_own_latents_and_is_no_dictionary_in_this_ones_place():
    figures, kept, controls = held_against(np.random.default_rng(4), [0.2])
    found = Gathered(figures, {}, kept, [], [], None, [])
    words = verdicts(found, comparisons(figures, kept, controls), {"c0": "twin (random weights)"}, has_twin=True)
    assert words == ["Worse than twin (random weights): fvu, loss recovered mean, kl, cosine."]


def test_an_l0_far_from_what_was_asked_is_said():
    assert said([0.0], l0=40.0)[0] == "It was trained for an L0 of 32 and has 40.00 on test documents."
    assert "trained for" not in "".join(said([0.0], l0=35.0) + said([0.0], l0=40.0, asked=None))


def test_without_a_twin_it_is_said():
    assert said([0.0], has_twin=False)[-1].startswith("No random twin was run")
