"""Verdicts are made from figures: other figures, another verdict."""

from typing import get_args

import pytest

from sparselex.base.figures import Figure
from sparselex.base.intervals import LEAST_UNITS
from sparselex.evaluate.doomed.config import LEAST_SEEDS, DoomedConfig, Example
from sparselex.evaluate.doomed.records import CHANCE_95, MethodRow
from sparselex.evaluate.doomed.verdicts import verdict
from sparselex.evaluate.doomed.words import NAMES, words_of


def figure(value: float, high: float | None = None) -> Figure:
    controls = {} if high is None else {CHANCE_95: high}
    return Figure(name="a", value=value, definition="what was computed", controls=controls)


def method(name: str, sees: str, setting: str = "", **figures: Figure) -> MethodRow:
    return MethodRow(method=name, setting=setting, sees=sees, figures=figures)


@pytest.mark.parametrize(
    ("pca", "gram", "supported", "words"),
    [
        (0.6, 1.0, "yes", "By |cosine|, none of 1 is above what 95 %"),
        (0.8, 1.0, "partly", "By |cosine|, 1 of 1 is above what 95 % of draws of as many random directions reach: PCA"),
        (0.97, 1.0, "no", "PCA 0.97"),
        (0.6, 0.7, "no", "|cosine| 0.700"),
    ],
)
def test_of_scaffolding(pca, gram, supported, words):
    rows = [method("PCA", "activations", cosine=figure(pca, 0.75))]
    rows.append(method("gradient Gram matrix", "model", cosine=figure(gram, 0.6)))
    found = verdict("scaffolding", rows, {"variance_share": figure(0.05)})
    assert found.supported == supported and words in found.words


def code(setting: str, product: float, composed: float) -> MethodRow:
    figures = {"product": figure(product, 0.05), "composed": figure(composed, 0.1), "l0": figure(2.0)}
    return method("topk", "activations", setting, **figures)


@pytest.mark.parametrize(
    ("codes", "supported"),
    [
        ([(0.0, 0.5), (0.1, 0.6)], "yes"),
        ([(0.8, 0.0), (0.0, 0.5)], "partly"),
        ([(0.8, 0.0), (0.9, 0.1)], "no"),
        ([(0.0, 0.09), (0.04, 0.0)], "no"),
    ],
)
def test_of_composition(codes, supported):
    found = verdict("composition", [code(f"k={n}", *one) for n, one in enumerate(codes)], {})
    assert found.supported == supported and "L0 2.0" in found.words


def over_runs(value: float, half: float, high: float) -> Figure:
    """Of five runs; without an interval where all agree."""
    ends = {"ci_low": value - half, "ci_high": value + half} if half else {}
    return figure(value, high).model_copy(update={**ends, "n_units": LEAST_SEEDS})


@pytest.mark.parametrize(
    ("product", "composed", "said"),
    [
        ((0.117, 0.05), (0.113, 0.05), "Neither beyond chance, or both alike: topk"),
        ((0.17, 0.10), (0.136, 0.05), "Neither beyond chance, or both alike: topk"),
        ((0.71, 0.12), (0.002, 0.008), "Values above combinations: topk"),
        ((0.96, 0.07), (0.0, 0.0), "Values above combinations: topk"),
        ((0.0, 0.0), (0.18, 0.07), "Combinations above values: topk"),
        ((0.02, 0.03), (0.04, 0.0), "Neither beyond chance, or both alike: topk"),
    ],
)
def test_a_code_counts_as_found_where_intervals_lie_apart(product, composed, said):
    figures = {"product": over_runs(*product, 0.01), "composed": over_runs(*composed, 0.01)}
    found = verdict("composition", [method("topk", "activations", "k=2", **figures)], {})
    assert said in found.words and "first look" not in found.words
    # Two codes that are alike bear nothing out.
    assert found.supported == ("yes" if said.startswith("Combinations") else "no")


def test_of_too_few_runs_means_are_compared_and_it_is_said():
    found = verdict("composition", [code("k=1", 0.113, 0.117)], {})
    assert found.words.startswith("A first look: too few runs for intervals") and found.supported == "yes"


def test_as_few_runs_have_no_interval_as_is_said():
    assert LEAST_SEEDS == LEAST_UNITS


def test_of_the_curve():
    errors = {"error_on": figure(0.001), "error_off": figure(0.001)}
    rows = lambda on: [
        method("topk", "activations", "on the curve", off_on=figure(on), purity=figure(0.7)),
        method("topk", "activations", "off the curve", off_on=figure(1.1)),
    ]
    assert verdict("unused", rows(5.0), errors).supported == "yes"
    bound = verdict("unused", rows(1.0), errors)
    assert bound.supported == "no" and "no sign that the dictionary holds the curve" in bound.words


@pytest.mark.parametrize(("within", "supported"), [(0.4, "yes"), (0.6, "partly"), (0.95, "no")])
def test_of_circuits(within, supported):
    figures = {"cosine_within": figure(within, 0.45), "clustered": figure(0.7, 0.0), "fvu": figure(0.03)}
    rows = [method("topk", "activations", "k=8", **figures), method("single", "chance", cosine_within=figure(0.5))]
    assert verdict("superposed", rows, {}).supported == supported


def rows_of(example: str) -> list[MethodRow]:
    """Rows with every measure that a verdict of the example looks at, a transcoder's among them."""
    names = ("off_on", "purity", "fvu", "fine", "f1", "lost_fine", "lost_coarse", "l0", "product", "composed")
    figures = {name: figure(0.5, 0.4) for name in (*names, "cosine", "cosine_within", "clustered")}
    settings = ("on the curve", "off the curve") if example == "unused" else ("k=2", "k=4")
    rows = [method("topk", "activations", setting, **figures) for setting in settings]
    named = "transcoder k=4" if example == "unused" else "transcoder"
    return [*rows, method(named, "model", "k=2", **figures), method("gradient Gram matrix", "model", **figures)]


@pytest.mark.parametrize("example", get_args(Example))
@pytest.mark.parametrize("with_transcoder", [True, False])
def test_every_verdict_is_whole_sentences(example, with_transcoder):
    rows = [row for row in rows_of(example) if with_transcoder or not row.method.startswith("transcoder")]
    facts = {name: figure(0.5) for name in ("error_on", "error_off", "variance_share")}
    words = verdict(example, rows, facts).words
    assert words.endswith(".") and ": ." not in words and "  " not in words
    if example in ("unused", "manifold", "composition"):
        assert ("A transcoder" in words) == with_transcoder


def test_what_is_said_of_the_manifold_names_its_measures():
    fine = {"fine": figure(0.25, 0.3), "fvu": figure(0.02)}
    rows = [
        method("topk", "activations", "k=2", f1=figure(0.5, 0.4), lost_fine=figure(173.0), **fine),
        method("topk", "activations", "k=4", f1=figure(0.5, 0.4), lost_fine=figure(19.0), **fine),
        method("relu", "activations", "l1=1", f1=figure(0.3, 0.4), lost_fine=figure(1.0), **fine),
    ]
    words = verdict("manifold", rows, {}).words
    assert "By F1, 2 of 3 are above what 95 % of draws of latents moved along the curve reach: topk k=2, topk" in words
    assert "topk k=2 173 times their variance, topk k=4 19 times their variance, relu l1=1 1.0 times" in words


@pytest.mark.parametrize(("of_transcoder", "words"), [(7.1, "as well: 7.1 times."), (1.1, "is not bound to the curve")])
def test_what_is_said_of_the_transcoder_hangs_on_its_figure(of_transcoder, words):
    rows = [method("topk", "activations", f"{at} the curve", off_on=figure(5.0)) for at in ("on", "off")]
    rows.append(method("transcoder k=4", "model", "on the curve", off_on=figure(of_transcoder)))
    errors = {"error_on": figure(0.001), "error_off": figure(0.001)}
    assert words in verdict("unused", rows, errors).words


@pytest.mark.parametrize("example", get_args(Example))
def test_every_measure_and_fact_has_a_name_in_words(example):
    said = words_of(example, DoomedConfig())
    assert not [one for one in (*said.measures, *said.facts) if one not in NAMES]
    assert not [name for name in NAMES.values() if "_" in name]
