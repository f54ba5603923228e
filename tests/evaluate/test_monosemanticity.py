"""Claims of the paper and what our figures say of them: by rules that can fail."""

import pytest

from sparselex.base.figures import Figure
from sparselex.evaluate.monosemanticity.claims import CLAIMS
from sparselex.evaluate.monosemanticity.found import claims_of
from sparselex.evaluate.monosemanticity.judges import FEWEST_CONCEPTS
from sparselex.evaluate.monosemanticity.records import Roles

ROLES = Roles(narrow="a0", main="a1", wide="a2", other_narrow="b0", other="b1", other_wide="b2")


def figure(name: str, value: float | None, near: float = 0.01, **more) -> Figure:
    ends = {} if value is None else {"ci_low": value - near, "ci_high": value + near}
    return Figure(name=name, value=value, n=100, definition="", **ends, **more)


def said(name: str, *figures: Figure, run: str = "a1") -> str:
    """What is said of one claim where nothing else was measured."""
    found = claims_of({(run, one.name): one for one in figures}, ROLES)
    return next(one.reproduced for one in found if one.name == name)


@pytest.mark.parametrize("claim", [one.name for one in CLAIMS])
def test_without_figures_nothing_is_claimed(claim):
    assert said(claim) == "open"


def test_the_loss_counts_only_with_few_active_latents():
    of = lambda loss, l0: said("loss", figure("core/loss_recovered_zero", loss), figure("core/l0", l0))
    assert (of(0.8, 15.0), of(0.8, 60.0), of(0.5, 15.0), of(0.5, 60.0)) == ("yes", "partly", "partly", "no")


def test_latents_are_universal_only_beyond_the_interval_of_neurons():
    of = lambda ours, near: said(
        "universality",
        figure("universality/b1/features", ours, near),
        figure("universality/b1/neurons", 0.4, 0.02),
    )
    assert (of(0.7, 0.05), of(0.5, 0.05), of(0.45, 0.1), of(0.3, 0.05)) == ("yes", "partly", "no", "no")


def test_enough_concepts_are_needed_and_neurons_must_have_fewer():
    of = lambda n, neuron: said("concepts", figure("proxies/specific_share", n / 100, controls={"neuron": neuron}))
    assert of(FEWEST_CONCEPTS, 0.0) == "yes" and of(FEWEST_CONCEPTS - 1, 0.0) == "partly"
    assert of(FEWEST_CONCEPTS, 0.5) == "partly" and of(1, 0.5) == "no"


def test_that_shuffled_weights_are_explained_better_is_what_the_paper_found():
    of = lambda name, kind, theirs: said(
        name, figure("intervals/spearman_median", 0.5, near=0.1, controls={f"a1-{kind}": theirs})
    )
    assert [of("explanations", "neurons", theirs) for theirs in (0.3, 0.7, 0.5)] == ["yes", "no", "partly"]
    assert [of("random", "permuted", theirs) for theirs in (0.3, 0.7, 0.5)] == ["no", "yes", "partly"]
    assert of("random", "neurons", 0.3) == "open"  # another control than is asked for


def test_splitting_is_what_a_dictionary_does_not_have_in_itself():
    of = lambda own: said("splitting", figure("splitting/a0/a1/close_split", 0.5, controls={"siblings": own}))
    assert (of(0.1), of(0.5), of(0.9)) == ("yes", "no", "no")


def test_automata_of_both_widths_count_and_must_be_more_than_in_shuffled_text():
    of = lambda n, null: said("automata", figure("automata/automata", n, null=null), run="a0")
    assert (of(3.0, 0.0), of(0.0, 0.0), of(2.0, 2.0)) == ("yes", "no", "no")


def test_a_share_is_beyond_chance_only_with_its_interval():
    used = Figure(name="causal/used_share", value=0.9, n=3, null=0.05, definition="")
    assert said("ablation", used) == "no" and said("ablation", figure("causal/used_share", 0.9, null=0.05)) == "yes"


def test_figures_that_were_not_measured_are_rows_with_their_reason():
    missing = Figure(name="core/l0", failure="no text", n=0, definition="")
    (loss, *_) = claims_of({("a1", "core/l0"): missing}, ROLES)
    rows = {(row.run, row.words): row for row in loss.rows}
    assert rows["a1", "active latents of a token"].figure == missing and loss.reproduced == "open"
    assert rows["a0", "the same of the narrow dictionary"].figure is None
