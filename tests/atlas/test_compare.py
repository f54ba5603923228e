"""Two dictionaries beside each other: planted truths are found, independent ones are told as such."""

import shutil

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import spearmanr

from sparselex.atlas.compare.activations import Common, by_activations
from sparselex.atlas.compare.build import by_cosine
from sparselex.atlas.compare.columns import blocks, common_ranks, n_active, pair_correlations, shifted
from sparselex.atlas.compare.figures import Without, follows_figure
from sparselex.atlas.compare.pairs import Keeper, partners
from sparselex.atlas.compare.records import Compared
from sparselex.atlas.config import CompareConfig
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.comparing import compare_with

CONFIG = CompareConfig(least_active=10)


def activity(n_latents=40, n_tokens=4000, share=0.02, seed=0):
    """`[n_latents, n_tokens]`, each latent active at random."""
    rng = np.random.default_rng(seed)
    return (rng.random((n_latents, n_tokens)) < share) * rng.uniform(0.5, 3, (n_latents, n_tokens))


def compared(left, right, config=CONFIG, *, signed=False):
    sides = [Common.of(csr_array(part.astype(np.float32)), config.least_active) for part in (left, right)]
    return by_activations(*sides, config, signed=signed)


def test_blocks_are_what_a_dense_computation_gives(monkeypatch):
    monkeypatch.setattr("sparselex.atlas.compare.columns._BLOCK", 7 * 30)
    left, right = activity(25), activity(30, seed=1)
    right[4] = left[3]
    right[5] = 1.0
    found = list(blocks(csr_array(left), csr_array(right)))
    r, n_both = (np.concatenate([getattr(one, name) for one in found]) for name in ("correlation", "n_both"))
    dense = np.corrcoef(left, np.delete(right, 5, axis=0))[:25, 25:]
    np.testing.assert_allclose(np.delete(r, 5, axis=1), dense, atol=1e-5)
    assert (r[:, 5] == -2).all() and [one.start for one in found] == [0, 7, 14, 21]
    assert np.array_equal(n_both, (left != 0).astype(int) @ (right != 0).T.astype(int))
    partner = np.array([4, -1, 7, *[5] * 22])
    pairs = pair_correlations(csr_array(left), csr_array(right), partner)
    assert pairs[0] == pytest.approx(r[0, 4], abs=1e-5) and pairs[2] == pytest.approx(r[2, 7], abs=1e-5)
    assert np.isnan(pairs[1]) and np.isnan(pairs[3:]).all()


@pytest.mark.parametrize("k", [1, 3, 50])
def test_the_best_of_rows_and_columns_are_those_of_a_sort(k):
    values = np.random.default_rng(0).standard_normal((23, 17)).astype(np.float32)
    keeper = Keeper(23, 17, k)
    for start in range(0, 23, 5):
        keeper.add(start, values[start : start + 5])
    found = keeper.finish()
    for best, whole in ((found.left, values), (found.right, values.T)):
        order = np.argsort(-whole, axis=1)[:, :k]
        assert np.array_equal(best.latent, order)
        assert np.array_equal(best.value, np.take_along_axis(whole, order, axis=1))


def test_the_matching_is_one_to_one_and_the_best():
    """Two with the same best match: the sum decides which of them has it, and one with nothing alike stays alone."""
    values = np.array([[0.9, 0.8, -1], [0.85, 0.1, -1], [-1, -0.5, -1]], dtype=np.float32)
    keeper = Keeper(3, 3, 2)
    keeper.add(0, values)
    assert partners(keeper.finish()).tolist() == [1, 0, -1]


def directions(n=300, d=48, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("signed", [False, True])
def test_a_noisy_copy_in_another_order_is_matched(signed):
    rows, order = directions(), np.random.default_rng(1).permutation(300)
    copy = rows[order] * (-1 if signed else 1) + 0.2 * directions(seed=2)
    found = by_cosine(rows, copy, CONFIG, signed=signed)
    assert np.array_equal(order[found.partner], np.arange(300)) and found.matched.min() > 0.9
    summary = found.summary()
    assert summary.n_same == summary.n_alike == summary.n_pairs == 300 and summary.n_only == {"a": 0, "b": 0}


def test_independent_directions_are_at_the_level_of_the_null():
    spread = np.linspace(3, 0.2, 48, dtype=np.float32)
    found = by_cosine(directions() * spread, directions(400, seed=9) * spread, CONFIG, signed=False).summary()
    assert 0.90 < found.n_only["a"] / 300 < 0.99 and 0.90 < found.n_only["b"] / 400 < 0.99
    assert found.n_alike < 0.12 * found.n_pairs and found.n_same < 0.02 * found.n_pairs


def test_activations_that_are_copies_are_matched_and_independent_ones_are_not():
    left = activity()
    noise = np.where(activity(seed=3) > 0, activity(seed=3), left)
    order = np.random.default_rng(1).permutation(40)
    alike, apart = compared(left, noise[order]), compared(left, activity(seed=5))
    assert np.array_equal(order[alike.measured.partner], np.arange(40))
    assert alike.measured.summary().n_only == {"a": 0, "b": 0}
    assert apart.measured.summary().n_only["a"] > 0.85 * 40 and apart.measured.summary().n_same == 0
    assert not any(side.split.any() or side.null.any() for side in apart.split.values())


def test_a_latent_in_three_parts_is_found_as_such():
    left, right = activity(), activity(seed=5)
    places = np.flatnonzero(left[7])
    for number in range(3):
        right[20 + number] = 0
        right[20 + number, places[number::3]] = 1
    right[30] = left[8]
    found = compared(left, right)
    assert np.flatnonzero(found.covering["a"].split).tolist() == [7]
    own = found.parts["a"].whole == 7
    assert sorted(found.parts["a"].part[own].tolist()) == [20, 21, 22]
    assert found.parts["a"].share[own].sum() == pytest.approx(1) and (found.parts["a"].inside[own] == 1).all()
    assert found.covering["a"].covered[7] == 1 and found.covering["a"].n_parts[7] == 3
    assert found.covering["a"].largest[8] == 1 and not found.covering["b"].split.any(), "a copy is no split"
    assert np.flatnonzero(compared(right, left).covering["b"].split).tolist() == [7], "from the other side too"


def test_what_is_rare_is_not_compared():
    left, right = activity(), activity(seed=5)
    left[0] = 0
    left[0, :3] = right[0, :3] = 5
    found = compared(left, right).measured
    assert np.isnan(found.value["a"][0]) and found.best["a"][0] == found.partner[0] == -1


def test_a_shift_keeps_everything_but_the_places():
    given = csr_array(activity())
    moved = shifted(given, 1234)
    np.testing.assert_array_equal(moved.toarray(), np.roll(given.toarray(), 1234, axis=1))


def test_common_tokens_are_whole_rows_spread_over_the_corpus(small_index):
    counted = small_index.counted
    every = common_ranks(small_index, small_index, None)
    assert np.array_equal(every >= 0, counted) and every.max() == counted.sum() - 1
    some = common_ranks(small_index, small_index, int(counted.sum()) // 3)
    rows = np.flatnonzero((some >= 0).reshape(-1, small_index.corpus.n_ctx).any(axis=1))
    n_rows = int(counted.reshape(-1, small_index.corpus.n_ctx).any(axis=1).sum())
    assert rows[0] < n_rows * 0.05 and rows[-1] > n_rows * 0.95 and 0.25 < len(rows) / n_rows < 0.4
    assert np.array_equal(some >= 0, counted & np.repeat(np.isin(np.arange(len(counted) // 64), rows), 64))


@pytest.fixture(scope="module")
def found(small_workspace, tmp_path_factory):
    """The small run beside its twin, in a copy."""
    path = tmp_path_factory.mktemp("compare") / "w"
    shutil.copytree(small_workspace.path, path)
    workspace = Workspace(path)
    return workspace, compare_with(workspace, "main", "twin", CompareConfig(n_tokens=3000))


def test_two_runs_of_a_workspace(found, small_index):
    read = found[1]
    assert set(read.summary.measures) == {"correlation"} and "other models" in read.summary.missing["cosine"]
    assert (read.summary.a.run, read.summary.b.run) == ("main", "twin")
    table = read.latents["a"]
    assert len(table["n_active"]) == small_index.d_sae == read.summary.a.n_latents
    paired = np.flatnonzero(table["correlation_partner"] >= 0)
    assert np.array_equal(read.latents["b"]["correlation_partner"][table["correlation_partner"][paired]], paired)
    ranks = common_ranks(small_index, small_index, 3000)
    positions = small_index.column(5)[0]
    assert table["n_active"][5] == (ranks[positions] >= 0).sum()
    assert all(one.failure is None and one.null is not None for one in read.summary.figures)


def test_the_other_way_round_is_the_same_mirrored(found):
    workspace, read = found
    turned = Compared(workspace.run("main") / "compare-twin", turned=True)
    assert (turned.summary.a.run, turned.summary.b.run) == ("twin", "main")
    assert turned.latents["a"].keys() == read.latents["b"].keys()
    by_name = {figure.name: figure.value for figure in read.summary.figures}
    mirrored = {figure.name: figure.value for figure in turned.summary.figures}
    assert by_name["compare/correlation/best/a"] == mirrored["compare/correlation/best/b"]
    assert by_name["compare/correlation/matched"] == mirrored["compare/correlation/matched"]


def test_what_is_done_is_not_done_again_and_what_cannot_be_is_told(found, monkeypatch):
    workspace, read = found
    monkeypatch.setattr("sparselex.recipes.comparing.found", None)
    again = compare_with(workspace, "main", "twin", CompareConfig(n_tokens=3000))
    assert again.manifest.id == read.manifest.id
    assert again.manifest.inputs.keys() == {"dictionary a", "dictionary b", "index a", "index b", "words"}
    for run, other, words in (("main", "main", "itself"), ("main", "nobody", "nobody")):
        with pytest.raises(UserError, match=words):
            compare_with(workspace, run, other)


def test_counts_of_active_tokens():
    assert n_active(csr_array(activity())).tolist() == (activity() != 0).sum(1).tolist()


def test_a_rank_correlation_is_uncertain_over_latents_and_over_documents():
    """By hand: the correlation without each latent, and without each group of documents."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal(60)
    x = y + rng.standard_normal(60)
    xs, ys = x + 0.3 * rng.standard_normal((12, 60)), y + 0.3 * rng.standard_normal((12, 60))
    alone = follows_figure("a/b", x, y, "words")
    both = follows_figure("a/b", x, y, "words", without=Without(xs, ys, 60.0))
    assert alone.value == both.value == pytest.approx(spearmanr(x, y).statistic)
    variance = np.square(both.value - np.array([spearmanr(*pair).statistic for pair in zip(xs, ys, strict=True)]))
    assert both.se**2 == pytest.approx(alone.se**2 + variance.sum() * 11 / 12)
    assert -1 < both.ci_low < alone.ci_low < both.value < alone.ci_high < both.ci_high < 1
    fixed = follows_figure("a/b", x, y, "words", without=Without(xs, y, 60.0))
    variance = np.square(fixed.value - np.array([spearmanr(one, y).statistic for one in xs]))
    assert fixed.se**2 == pytest.approx(alone.se**2 + variance.sum() * 11 / 12)
    few = follows_figure("a/b", x, y, "words", without=Without(xs, ys, 3.0))
    assert few.ci_low is None and "no interval" in few.definition
