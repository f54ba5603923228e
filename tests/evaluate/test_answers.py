"""Five questions, answered in words made from figures."""

from sparselex.base.figures import Figure
from sparselex.evaluate.answers import Known, answers
from sparselex.evaluate.gathered import Gathered
from sparselex.evaluate.records import Comparison


def figure(name, value, **about):
    about = {"ci_low": None if value is None else value - 0.01, "ci_high": value and value + 0.01} | about
    return Figure(name=name, value=value, failure=None if value is not None else "why not", definition="x", **about)


FIGURES = {
    "explained/loss_recovered_mean": 0.55,
    "explained/fvu": 0.61,
    "core/l0": 32.0,
    "core/fvu": 0.16,
    "core/ce_loss": 2.5,
    "core/ce_increase": 0.28,
    "core/loss_recovered_mean": 0.945,
    "explain/rule/f1_of_all": 0.47,
    "explain/rule/own_share": 0.39,
}


def told(figures=FIGURES, compared=(), *, twins=("twin",), is_twin=False, other=False, stability=()):
    found = [figure(name, value, null=0.19 if name.endswith("f1_of_all") else None) for name, value in figures.items()]
    gathered = Gathered(found, {}, None, list(stability), None, [])
    said = answers(Known(gathered, list(compared), twins, is_twin, other))
    return {one.question: one for one in said}, [one.answer for one in said]


def against(name, control, value, verdict):
    own = FIGURES[name]
    low = {"difference": own - value, "low": None, "high": None, "paired": True, "p": 0.0}
    return Comparison(figure=name, control=control, verdict=verdict, **low)


def test_a_dictionary_that_is_better_is_said_to_be():
    compared = [
        against("core/fvu", "twin", 0.09, "worse"),
        against("core/fvu", "pca", 0.33, "better"),
        against("core/fvu", "neurons", 0.49, "better"),
        against("explained/loss_recovered_mean", "token_lookup", 0.52, "better"),
    ]
    by_question, (reconstructs, works, explains, stable, missing) = told(compared=compared)
    assert reconstructs == "Yes, better than all 2."
    evidence = by_question["Does it reconstruct better than the controls?"].evidence
    own, beside = evidence[0].split("; against ")
    assert own == "FVU 0.1600 (0.1500 to 0.1700) at 32.0 active latents a token"
    assert beside == "pca 0.3300 (better), neurons 0.4900 (better)"
    assert evidence[1].endswith("random weights: twin 0.09000 (worse)")
    assert works == "It keeps 94.5 % of what it loses with the site at its mean."
    assert explains == "Beyond a token lookup: yes. Beyond another latent's: for 39.0 % of latents."
    assert stable == "Not measured." and missing.startswith("3 ")


def test_one_that_loses_or_is_undecided_is_not():
    lost = [against("core/fvu", "pca", 0.1, "worse"), against("core/fvu", "covariance", 0.16, "undecided")]
    assert told(compared=lost)[1][0] == "Worse than: pca. Undecided against: covariance."
    lookup = [against("explained/loss_recovered_mean", "token_lookup", 0.6, "worse")]
    assert told(compared=lookup)[1][2].startswith("Beyond a token lookup: worse than it.")
    both = [*lookup, against("explained/fvu", "token_lookup", 0.7, "better")]
    assert told(compared=both)[1][2].startswith("Beyond a token lookup: worse than it by loss recovered, yes by FVU.")


def test_what_has_no_value_is_said_with_its_reason():
    figures = FIGURES | {"core/loss_recovered_mean": None, "explained/loss_recovered_mean": None}
    by_question, said = told(figures)
    assert said[1] == "Not measured as a share."
    assert by_question["Does the model still work?"].evidence[0] == "why not"
    missing = by_question["What was not measured?"].evidence
    assert missing[:2] == ["explained/loss_recovered_mean: why not", "core/loss_recovered_mean: why not"]
    nothing = told({}, twins=())[1]
    assert nothing[:4] == ["Not measured."] * 4 and nothing[4] == "5 things."


def test_controls_that_are_there_are_not_missed():
    missing = told(other=True, stability=[figure("stability/k32/shared_share", 0.4, null=0.3)])[0]
    assert len(missing["What was not measured?"].evidence) == 1
    assert missing["Is it stable?"].answer == "More than activations themselves between two samples."
    worse = told(stability=[figure("stability/k32/shared_share", 0.305, null=0.3)])[0]
    assert worse["Is it stable?"].answer == "Not beyond its null."
