"""Dictionaries against known features: a perfect one scores 1, an empty one 0, and sums equal the dense ones."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import friedmanchisquare

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.source import Known, KnownFeatures
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.controls.basis import Basis, BasisConfig, pursued
from sparselex.dictionaries.controls.rows import random_rows
from sparselex.evaluate.synthetic.figures import figures, value_of, values_of
from sparselex.evaluate.synthetic.formulas import FORMULAS
from sparselex.evaluate.synthetic.matching import candidates, match
from sparselex.evaluate.synthetic.measured import HeldOut, Measured, held_out, measure
from sparselex.evaluate.synthetic.ranking import concordance, concordance_figure

CONFIG = KnownConfig(
    d_in=32, n_features=96, l0=3, noise=0.0, n_trees=2, n_children=2, depth=1, n_groups=2, group_size=3, zipf=0.4
)


@pytest.fixture(scope="module")
def held() -> HeldOut:
    return held_out(KnownFeatures(CONFIG, batch_size=400), 6)


def true_codes(factor: float = 1.0, n_features: int = CONFIG.n_features):
    """Codes that are the truth, times a factor."""

    def encode(sample: Known) -> Codes:
        rows, features, values = (torch.from_numpy(part) for part in sample.truth)
        return Codes.from_pairs(rows, features, (factor * values).float(), len(sample.x), n_features)

    return encode


def truth_as_dictionary(held: HeldOut, rows: torch.Tensor | None = None) -> Basis:
    rows = held.source.directions if rows is None else rows
    config = BasisConfig(kind="truth", d_in=CONFIG.d_in, d_sae=len(rows), k=3, code="pursuit")
    return Basis(config, rows, held.source.bias)


def test_a_perfect_dictionary_scores_1_everywhere(held: HeldOut):
    found = values_of(measure(truth_as_dictionary(held), held, true_codes()))
    perfect = "f1 precision recall correlation matched_cosine latent_cosine feature_cosine covered unique shrinkage"
    assert {name: found[name] for name in perfect.split()} == pytest.approx(dict.fromkeys(perfect.split(), 1.0))
    assert found["fvu"] == pytest.approx(0, abs=1e-9)
    n_true = sum(len(sample.truth.rows) for sample in held.samples)
    assert found["l0"] == pytest.approx(n_true / held.n_tokens)
    assert found["dead"] == pytest.approx(1 - held.n_seen / CONFIG.n_features)


def test_an_empty_dictionary_scores_0_and_is_all_dead(held: HeldOut):
    found = values_of(measure(truth_as_dictionary(held), held, true_codes(0.0)))
    for name in ("f1", "precision", "recall", "correlation", "matched_cosine", "covered", "l0", "feature_cosine"):
        assert found[name] == 0, name
    assert found["dead"] == 1
    shown = figures([measure(truth_as_dictionary(held), held, true_codes(0.0))], nulls={})
    assert shown["shrinkage"].failure and shown["latent_cosine"].failure


def test_half_as_large_is_a_shrinkage_of_a_half_and_costs_nothing_else(held: HeldOut):
    found = values_of(measure(truth_as_dictionary(held), held, true_codes(0.5)))
    assert found["shrinkage"] == pytest.approx(0.5, rel=1e-6)
    assert found["f1"] == pytest.approx(1) and found["correlation"] == pytest.approx(1)


def test_the_norm_of_decoder_rows_is_part_of_the_activation(held: HeldOut):
    dictionary = truth_as_dictionary(held)
    dictionary.W_dec = 4 * dictionary.W_dec
    found = values_of(measure(dictionary, held, true_codes(0.25)))
    assert found["shrinkage"] == pytest.approx(1, rel=1e-6) and found["fvu"] == pytest.approx(0, abs=1e-9)


def test_latents_that_share_a_feature_are_not_unique(held: HeldOut):
    twice = torch.cat([held.source.directions, held.source.directions])

    def encode(sample: Known) -> Codes:
        one = true_codes(0.5)(sample).dense()
        return Codes.from_dense(torch.cat([one, one], dim=1))

    found = measure(truth_as_dictionary(held, twice), held, encode)
    assert value_of(found, "unique") == pytest.approx(0.5)
    assert value_of(found, "f1") == pytest.approx(1) and found.n_pairs == held.n_seen


def test_a_signed_latent_may_stand_for_a_feature_upside_down(held: HeldOut):
    def encode(sample: Known) -> Codes:
        codes = true_codes()(sample)
        return codes.with_values(-codes.values)

    dictionary = truth_as_dictionary(held, -held.source.directions)
    found = values_of(measure(dictionary, held, encode))
    assert found["f1"] == pytest.approx(1) and found["shrinkage"] == pytest.approx(1, rel=1e-6)


def dense_sums(found: Measured, dictionary: Basis, held: HeldOut) -> dict[str, float]:
    """The measures of matched pairs, computed from tables of all tokens by all latents."""
    acts = torch.cat([dictionary.encode_sparse(sample.x).dense() for sample in held.samples]).double().numpy()
    rows = np.cumsum([0, *(len(sample.x) for sample in held.samples)])
    truth = np.zeros((rows[-1], CONFIG.n_features))
    for start, sample in zip(rows, held.samples, strict=False):
        truth[start + sample.truth.rows, sample.truth.features] = sample.truth.values
    latents = np.flatnonzero(found.matching.feature >= 0)
    a = np.maximum(acts[:, latents] * found.matching.sign[latents], 0)
    c = truth[:, found.matching.feature[latents]]
    both, active, true = ((a > 0) & (c > 0)).sum(0), (a > 0).sum(0), (c > 0).sum(0)
    correlations = [np.corrcoef(a[:, i], c[:, i])[0, 1] if both[i] else 0 for i in range(len(latents))]
    n = found.n_pairs
    on = (a > 0) & (c > 0)
    return {
        "f1": float((2 * both / np.maximum(active + true, 1)).sum() / n),
        "precision": float((both / np.maximum(active, 1)).sum() / n),
        "recall": float((both / np.maximum(true, 1)).sum() / n),
        "covered": float(both.sum() / (truth > 0).sum()),
        "shrinkage": float((a * c)[on].sum() / (c**2)[on].sum()),
        "correlation": sum(correlations) / n,
    }


@pytest.mark.parametrize("kind", ["random", "noisy"])
def test_sums_of_sparse_codes_equal_those_of_dense_tables(held: HeldOut, kind: str):
    draws = torch.Generator().manual_seed(1)
    if kind == "random":
        dictionary = random_rows(held.source.bias, 80, 3, draws)
    else:
        rows = held.source.directions + 0.05 * torch.randn(CONFIG.n_features, CONFIG.d_in, generator=draws)
        dictionary = pursued("noisy", rows, held.source.bias, 3, n_steps=3)
    found = measure(dictionary, held)
    wanted = dense_sums(found, dictionary, held)
    got = {name: value_of(found, name) for name in wanted if name != "correlation"}
    assert got == pytest.approx({name: wanted[name] for name in got}, abs=1e-6)
    # A pair of which nothing is shared has a slightly negative correlation, which the slow version leaves out.
    assert value_of(found, "correlation") == pytest.approx(wanted["correlation"], abs=0.03)


@pytest.mark.parametrize("signed", [False, True])
def test_the_sparse_assignment_is_the_dense_one(signed: bool):
    draws = torch.Generator().manual_seed(2)
    rows, others = torch.randn(60, 16, generator=draws), torch.randn(90, 16, generator=draws)
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], others[None], dim=-1).numpy()
    table = np.abs(cosines) if signed else np.maximum(cosines, 0)
    best = table[linear_sum_assignment(table, maximize=True)].sum()
    whole = match(candidates(rows, others, signed=signed, most=90), signed=signed)
    assert whole.cosine.sum() == pytest.approx(best, abs=1e-5)
    few = match(candidates(rows, others, signed=signed), signed=signed)
    assert best * 0.999 <= few.cosine.sum() <= best + 1e-5
    matched = few.feature[few.feature >= 0]
    assert len(set(matched.tolist())) == len(matched)
    chosen = cosines[np.arange(60), few.feature]
    assert np.allclose((chosen * few.sign)[few.feature >= 0], few.cosine[few.feature >= 0], atol=1e-6)


def test_more_latents_than_features_leave_some_without(held: HeldOut):
    rows = torch.randn(300, CONFIG.d_in, generator=torch.Generator().manual_seed(0))
    found = match(candidates(rows, held.source.directions))
    assert (found.feature >= 0).sum() == CONFIG.n_features and (found.cosine[found.feature < 0] == 0).all()


def test_random_rows_find_nothing_and_the_truth_does(held: HeldOut):
    random = measure(random_rows(held.source.bias, 96, 3, torch.Generator().manual_seed(0)), held)
    truth = measure(pursued("truth", held.source.directions, held.source.bias, 3, n_steps=3), held)
    assert value_of(random, "f1") < 0.25 < 0.6 < value_of(truth, "f1")


def test_figures_of_seeds_are_the_mean_of_theirs_and_say_what_is_uncertain(held: HeldOut):
    rows = [
        held.source.directions + size * torch.randn(96, CONFIG.d_in, generator=torch.Generator().manual_seed(number))
        for number, size in enumerate((0.03, 0.05, 0.07))
    ]
    found = [measure(pursued("noisy", one, held.source.bias, 3, n_steps=3), held) for one in rows]
    shown = figures(found, nulls={"f1": 0.1}, controls={"f1": {"covariance": 0.2}})
    for name, figure in shown.items():
        assert figure.value == pytest.approx(np.mean([value_of(one, name) for one in found])), name
    f1 = shown["f1"]
    assert f1.null == 0.1 and f1.controls == {"covariance": 0.2} and "and over seeds" in f1.definition
    alone = figures(found[:1], nulls={})["f1"]
    assert alone.ci_low < alone.value < alone.ci_high
    assert f1.ci_high - f1.ci_low > alone.ci_high - alone.ci_low
    assert set(shown) == set(FORMULAS)


def test_intervals_hold_what_many_more_samples_say(held: HeldOut):
    """Of forty sets of 16 samples of 200 tokens, against 300 others: 36 to 40 of them, where 38 are expected."""
    source = KnownFeatures(CONFIG, batch_size=200)

    def drawn(first: int, n: int) -> HeldOut:
        samples = [source.held_out(number) for number in range(first, first + n)]
        counts = [np.bincount(sample.truth.features, minlength=CONFIG.n_features) for sample in samples]
        return HeldOut(source, samples, np.sum(counts, axis=0).astype(np.float64))

    rows = held.source.directions + 0.08 * torch.randn(96, CONFIG.d_in, generator=torch.Generator().manual_seed(0))
    dictionary = pursued("noisy", rows, source.bias, 3, n_steps=3)
    many = values_of(measure(dictionary, drawn(10_000, 300)))
    found = [figures([measure(dictionary, drawn(16 * number, 16))], nulls={}) for number in range(40)]
    for name in ("f1", "recall", "covered", "shrinkage", "fvu"):
        assert sum(one[name].ci_low <= many[name] <= one[name].ci_high for one in found) >= 35, name


def test_concordance_is_friedmans_statistic_over_its_largest():
    values = np.random.default_rng(0).normal(size=(4, 6)) + np.arange(6)
    wanted = friedmanchisquare(*values.T).statistic / (4 * 5)
    assert concordance(values) == pytest.approx(wanted)
    assert concordance(np.tile(np.arange(5.0), (3, 1))) == 1
    tied = np.array([[1, 1, 2.0], [1, 2, 2], [0, 1, 5]])
    assert concordance(tied) == pytest.approx(friedmanchisquare(*tied.T).statistic / (3 * 2))
    draws = np.random.default_rng(1).normal(size=(2000, 3, 5))
    assert np.mean([concordance(one) for one in draws]) == pytest.approx(1 / 3, abs=0.02)


def test_agreement_of_seeds_is_a_figure_with_its_null():
    values = {name: [place + step for step in (0.0, 0.4, 0.9)] for place, name in enumerate("abcdef")}
    found = concordance_figure("synthetic/concordance", values, "F1")
    assert found.value == 1 and found.null == pytest.approx(1 / 3) and "0.0001 among" in found.definition
    assert concordance_figure("w", {"a": [1.0, 2.0]}, "F1").failure
    shuffled = np.random.default_rng(3).normal(size=(8, 3)) + 0.7 * np.arange(8)[:, None]
    figure = concordance_figure("w", {str(number): row.tolist() for number, row in enumerate(shuffled)}, "F1")
    assert 0 < figure.ci_low < figure.value < figure.ci_high < 1
