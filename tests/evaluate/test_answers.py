"""Six questions, answered in words made from figures."""

from sparselex.base.figures import Figure
from sparselex.evaluate.against_words import held_against, in_words, lines
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


def told(figures=FIGURES, compared=(), *, twins=("twin",), is_twin=False, frozen=False, stability=(), values=None):
    found = [figure(name, value, null=0.19 if name.endswith("f1_of_all") else None) for name, value in figures.items()]
    gathered = Gathered(found, {}, None, list(stability), [], None, {})
    beside = {} if values is None else values
    for one in compared:
        beside.setdefault(one.control, {})[one.figure] = figures[one.figure] - one.difference
    said = answers(Known(gathered, list(compared), twins, is_twin, frozen, beside))
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
        against("explained/fvu", "token_lookup", 0.7, "better"),
        against("explained/loss_recovered_mean", "pair_lookup", 0.7, "worse"),
        against("explained/fvu", "pair_lookup", 0.5, "worse"),
        against("explain/rule/own_share", "twin", 0.83, "worse"),
    ]
    by_question, (reconstructs, works, uses, explains, stable, missing) = told(compared=compared)
    assert reconstructs.split(". ") == [
        "Yes, better than pca, neurons",
        "On random weights the same recipe reconstructs better still (twin).",
    ]
    evidence = by_question["Does it reconstruct better than the controls?"].evidence
    own, beside = evidence[0].split("; against ")
    assert own == "FVU 0.1600 (0.1500 to 0.1700) at 32.0 active latents a token"
    assert beside == "pca 0.3300 (better than it), neurons 0.4900 (better than it)"
    assert evidence[1] == "FVU of the same recipe on a model of random weights: twin 0.09000 (worse than it)"
    assert works == "94.5 % of the loss that it has more with the site at its mean is recovered."
    assert explains == (
        "Beyond a lookup of the token: yes. Beyond one of it and the token before: no, worse. Beyond another latent's: "
        "for 39.0 % of latents (twin, on random weights, 83.0 %). Against those of controls: not measured, "
        "`sparselex controls`."
    )
    assert uses == stable == "Not measured." and missing.startswith("4 ")


def test_one_that_loses_or_is_undecided_is_not():
    lost = [
        against("core/fvu", "covariance", 0.16, "undecided"),
        against("core/fvu", "pca", 0.1, "worse"),
        against("core/fvu", "neurons", 0.4, "better"),
        against("core/loss_recovered_mean", "pca", 0.96, "worse"),
    ]
    said = told(compared=lost)[1]
    assert said[0] == "Worse than pca; Better than neurons; Undecided against covariance."
    assert said[1].endswith("is recovered. Worse than pca.")
    lookup = [against("explained/loss_recovered_mean", "token_lookup", 0.6, "worse")]
    assert told(compared=lookup)[1][3].startswith("Beyond a lookup of the token: no, worse by loss recovered.")
    both = [*lookup, against("explained/fvu", "token_lookup", 0.7, "better")]
    words = "Beyond a lookup of the token: no, worse by loss recovered, yes by FVU."
    assert told(compared=both)[1][3].startswith(words)


def test_with_too_few_documents_values_are_said_and_no_verdict():
    """A dictionary that is worse than every control by value is not told that nothing was measured."""
    few = {"units": "documents", "n_units": 15, "n_effective": 14.2, "ci_low": None, "ci_high": None}
    found = [figure(name, value, better="lower", **few) for name, value in FIGURES.items()]
    gathered = Gathered(found, {}, None, [], [], None, {})
    values = {"pca": {"core/fvu": 0.1}, "neurons": {"core/fvu": 0.4}, "token_lookup": {"explained/fvu": 0.5}}
    said = [one.answer for one in answers(Known(gathered, [], (), False, False, values))]
    why = "15 documents that count as 14.2 of one size are too few for a verdict (40 are needed)"
    assert said[0] == f"Undecided: by value better than 1 of 2, and {why}."


def test_what_has_no_value_is_said_with_its_reason():
    figures = FIGURES | {"core/loss_recovered_mean": None, "explained/loss_recovered_mean": None}
    compared = [against("explained/fvu", "token_lookup", 0.5, "worse")]
    by_question, said = told(figures, compared)
    assert said[1] == "Not told as a share."
    assert by_question["Does the model still work?"].evidence[0] == "why not"
    assert said[3].startswith("Beyond a lookup of the token: no, worse. ")
    missing = by_question["What was not measured?"].evidence
    assert missing[:2] == ["explained/loss_recovered_mean: why not", "core/loss_recovered_mean: why not"]
    by_question, nothing = told({}, twins=())
    assert nothing[:5] == ["Not measured."] * 5 and nothing[5] == "7 things."
    assert any("`sparselex evaluate`" in line for line in by_question["What was not measured?"].evidence)
    worse = told(FIGURES | {"core/loss_recovered_mean": -2.3})[1][1]
    assert worse == "It is worse than with the site at its mean."


def test_whether_the_model_uses_features_is_told_against_chance():
    def told_of(value, **about):
        causal = figure("causal/used_share", value, null=0.05, better="higher", **about)
        gathered = Gathered([causal], {}, None, [], [], None, {})
        values = {"neurons": {"causal/used_share": 0.01}, "twin": {"causal/used_share": 0.04}}
        of = {"figure": "causal/used_share", "control": "neurons", "verdict": "better", "paired": False}
        one = Comparison(difference=0.1, low=0.0, high=0.2, p=0.0, **of)
        found = answers(Known(gathered, [one], ("twin",), False, False, values))
        return found[2], found[5]

    beyond, missing = told_of(0.16)
    assert beyond.question == "Does the model use its features?"
    assert beyond.answer == (
        "More than chance gives: for 16.0 % of latents the predictions change by more without it than by random "
        "directions of its size (5.00 % would by chance). Better than neurons."
    )
    assert beyond.evidence[0].endswith("; 5.00 % would by chance; against neurons 0.01000 (better than it)")
    assert beyond.evidence[1].endswith("on a model of random weights: twin 0.04000")
    assert not any("uses each feature" in line for line in missing.evidence)
    assert told_of(0.055)[0].answer.startswith("Not beyond chance: for 5.50 %")
    assert told_of(0.01)[0].answer.startswith("Fewer than chance gives: for 1.00 %")


def test_controls_that_are_there_are_not_missed():
    def of(value, **about):
        return figure("stability/k32/shared_share", value, null=0.3, **about)

    missing = told(frozen=True, stability=[of(0.4)])[0]
    todo = missing["What was not measured?"].evidence
    assert [line.rpartition(": ")[2] for line in todo] == ["`sparselex controls`", "`sparselex effects`"]
    assert missing["Is it stable?"].answer == "Two seeds share more than two samples of activations do."
    assert told(stability=[of(0.305)])[1][4] == "Undecided."
    assert told(stability=[of(0.4), of(0.2)])[1][4].startswith("By some measure two seeds share less")
    assert told(stability=[of(1.0, ci_low=None, ci_high=None)])[1][4] == "Undecided."


def test_explanations_are_told_against_those_of_controls():
    def of(control, value, low, high, by="rule"):
        name = f"controls/{control}/{by}/superiority_of_all"
        return figure(name, value, null=0.5, better="higher", ci_low=low, ci_high=high)

    held = [
        of("neurons", 0.57, 0.55, 0.59),
        of("twin", 0.14, 0.13, 0.15),
        of("random", 0.51, 0.48, 0.54, "llm/fuzzing"),
    ]
    assert in_words(held_against(held)) == (
        "Against those of controls: worse than twin; undecided against random (llm fuzzing); better than neurons."
    )
    assert lines(held)[1].endswith("one of twin, each latent counted 0.1400 (0.1300 to 0.1500); even chances are 0.5")
    assert in_words([]) == "Against those of controls: not measured, `sparselex controls`."
