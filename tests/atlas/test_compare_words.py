"""Explanations of matched pairs: planted ones are alike, shuffled ones are at chance, and slow versions agree."""

import shutil
from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import spearmanr

from sparselex.atlas.compare.build import by_cosine
from sparselex.atlas.compare.pairs import Keeper, mutual
from sparselex.atlas.compare.records import Compared, cell_of
from sparselex.atlas.compare.words import Spoken, above_others, chosen_pairs, mean_of_others, worded
from sparselex.atlas.config import CompareConfig
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.gathered import gather
from sparselex.explain.keys import KeyTable
from sparselex.explain.pairs import called_by, common_explainers, explained, said_of, texts_of
from sparselex.explain.records import Explanation
from sparselex.explain.rules import rule_of
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.comparing import compare_all, compare_with
from tests.support.small_encoder import write_encoder

CONFIG = CompareConfig(least_active=10)


def unit(n, d, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def figures_of(found):
    return {one.name.rpartition("/")[2]: one for one in found.figures}


def spoken(left, right, vectors, called=None):
    return Spoken((np.asarray(left), np.asarray(right)), vectors, called)


def plain(found, alike=None):
    n = len(found.text[0])
    alike = np.linspace(0, 1, n) if alike is None else alike
    return worded("cosine", "llm", found, alike, np.ones(n, dtype=bool))


def test_a_noisy_permutation_has_the_same_explanations_and_a_shuffled_control_none_of_them():
    """60 latents of which each has words of its own: pairs are at 1, others at the mean product of two texts."""
    rows, order, vectors = unit(60, 32), np.random.default_rng(1).permutation(60), unit(60, 16, seed=2)
    matched = by_cosine(rows, rows[order] + 0.05 * unit(60, 32, seed=3), CONFIG, signed=False)
    assert np.array_equal(order[matched.partner], np.arange(60)) and matched.mutual.all()
    assert matched.summary().n_mutual == matched.summary().n_mutual_pairs == 60
    left = chosen_pairs(matched.partner, 100, 0)
    said = spoken(left, order[matched.partner[left]], vectors)
    found = figures_of(worded("cosine", "llm", said, matched.matched, matched.mutual))
    products = vectors @ vectors.T
    chance = (products.sum() - np.trace(products)) / (60 * 59)
    assert found["explanation_similarity"].value == pytest.approx(1, abs=1e-6)
    assert found["explanation_similarity"].null == pytest.approx(chance, abs=1e-6)
    assert found["explanation_auroc"].value == pytest.approx(1) and found["explained_pairs"].value == 1
    assert found["identical_texts"].value == 1 and found["identical_texts"].null == 0
    shuffled = np.random.default_rng(5).permutation(60)
    control = figures_of(worded("cosine", "llm", spoken(left, shuffled, vectors), matched.matched, matched.mutual))
    similarity = control["explanation_similarity"]
    assert similarity.ci_low < similarity.null < similarity.ci_high
    assert control["explanation_auroc"].ci_low < 0.5 < control["explanation_auroc"].ci_high


def test_the_chance_level_is_that_of_all_other_pairs_one_by_one():
    a, b = unit(23, 8), unit(23, 8, seed=1)
    b[4] = a[3]
    a[7] = a[6]  # ties
    others = [(i, j) for i, j in product(range(23), repeat=2) if i != j]
    assert mean_of_others(a, b) == pytest.approx(np.mean([a[i] @ b[j] for i, j in others]), abs=1e-6)
    own = (a * b).sum(1, dtype=np.float64)
    slow = [np.mean([0.5 if abs(a[i] @ b[j] - s) < 1e-6 else float(a[i] @ b[j] < s) for i, j in others]) for s in own]
    np.testing.assert_allclose(above_others(a, b, own), slow, atol=1e-9)
    assert mean_of_others(a[:1], b[:1]) is None and len(above_others(a[:1], b[:1], own[:1])) == 0


def test_blocks_change_nothing(monkeypatch):
    a, b = unit(40, 8), unit(40, 8, seed=1)
    own = (a * b).sum(1, dtype=np.float64)
    called = tuple(csr_array((np.random.default_rng(s).random((40, 300)) < 0.05).astype(np.float32)) for s in (0, 1))
    said = spoken(np.arange(40), np.arange(40), a, called)
    whole, agreement = above_others(a, b, own), plain(said)
    monkeypatch.setattr("sparselex.atlas.compare.words._BLOCK", 40 * 7)
    np.testing.assert_allclose(above_others(a, b, own), whole)
    np.testing.assert_allclose(plain(said).agreement, agreement.agreement)
    assert figures_of(plain(said))["predictor_agreement"].null == pytest.approx(
        figures_of(agreement)["predictor_agreement"].null
    )


def test_what_is_missing_is_counted_and_what_is_the_same_text_is_told():
    vectors = unit(5, 8)
    found = plain(spoken([0, 1, -1, 3, -1, 4], [0, 2, 2, -1, -1, 4], vectors))
    assert np.isnan(found.similarity[[2, 3, 4]]).all() and found.similarity[0] == pytest.approx(1)
    summary = found.summary
    assert (summary.n_pairs, summary.n_explained, summary.n_half, summary.n_identical) == (6, 3, 2, 2)
    figures = figures_of(found)
    assert figures["explained_pairs"].value == 0.5 and figures["explained_pairs"].null == pytest.approx(4 / 6 * 4 / 6)
    assert figures["explanation_similarity"].n == 3 and figures["identical_texts"].value == pytest.approx(2 / 3)


def test_stock_phrases_are_no_similarity():
    """All latents say the same: the pairs are at 1, and so is chance."""
    figures = figures_of(plain(spoken(np.zeros(30, int), np.zeros(30, int), unit(1, 8))))
    similarity = figures["explanation_similarity"]
    assert (similarity.value, similarity.null) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert figures["identical_texts"].null == 1 and figures["explanation_auroc"].value == pytest.approx(0.5)


def test_agreement_of_predictors_is_the_jaccard_index_of_sets():
    rng = np.random.default_rng(0)
    sides = [(rng.random((12, 50)) < 0.2).astype(np.float32) for _ in range(2)]
    sides[0][3] = sides[1][3] = 0
    sides[1][5] = 0
    found = plain(spoken(np.arange(12), np.arange(12), None, tuple(map(csr_array, sides))))
    sets = [[set(np.flatnonzero(row)) for row in side] for side in sides]
    jaccard = lambda x, y: len(x & y) / len(x | y) if x | y else np.nan
    np.testing.assert_allclose(found.agreement, [jaccard(*pair) for pair in zip(*sets, strict=True)])
    null = np.nanmean([jaccard(sets[0][i], sets[1][j]) for i, j in product(range(12), repeat=2) if i != j])
    figure = figures_of(found)["predictor_agreement"]
    assert figure.n == 11 and figure.null == pytest.approx(null) and np.isnan(found.agreement[3])
    assert found.agreement[5] == 0 and "explanation_similarity" not in figures_of(found)


def test_explanations_that_follow_the_likeness_of_pairs_are_told_by_rank():
    rng, vectors = np.random.default_rng(0), unit(80, 8)
    alike = rng.random(40)
    left, right = np.arange(40), np.arange(40, 80)
    found = plain(spoken(left, right, vectors), alike)
    expected = spearmanr(found.similarity, alike).statistic
    assert figures_of(found)["explanation_follows"].value == pytest.approx(expected, abs=1e-9)


def test_mutual_nearest_is_what_both_say():
    values = np.random.default_rng(0).standard_normal((9, 7)).astype(np.float32)
    keeper = Keeper(9, 7, 3)
    keeper.add(0, values)
    slow = [values[i].argmax() == j and values[:, j].argmax() == i for i, j in enumerate(values.argmax(1))]
    assert mutual(keeper.finish()).tolist() == slow and any(slow)


def test_of_many_pairs_some_are_drawn_the_same_each_time():
    partner = np.where(np.arange(100) % 3, np.arange(100), -1)
    assert len(chosen_pairs(partner, 1000, 0)) == 66
    some = chosen_pairs(partner, 20, 0)
    assert len(some) == 20 and (partner[some] >= 0).all() and np.array_equal(some, chosen_pairs(partner, 20, 0))
    assert not np.array_equal(some, chosen_pairs(partner, 20, 1))


@pytest.fixture(scope="module")
def workspace(small_workspace, tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "w"
    shutil.copytree(small_workspace.path, path)
    workspace = Workspace(path)
    store, ids = ExplanationStore(path / "sparselex.sqlite"), index_ids(workspace)
    for one in ids:
        said = [
            Explanation(
                latent=n, explainer="llm", status="explained" if n % 4 else "failed", text=f"topic {n}", title=""
            )
            for n in range(40)
        ]
        store.add(one, "c", said)
    return workspace


def index_ids(workspace):
    return [workspace.artifacts(run)["index"].id for run in ("main", "twin")]


def test_what_two_runs_say(workspace, small_index, tmp_path):
    small_encoder = write_encoder(tmp_path / "encoder")
    config = CompareConfig(n_tokens=3000, least_active=3, encoder=str(small_encoder))
    found = compare_with(workspace, "main", "twin", config)
    words = found.summary.measures["correlation"].words
    assert list(words) == ["llm", "rule"] and not any(one.missing for one in words.values())
    store, (main, twin) = ExplanationStore(workspace.database), index_ids(workspace)
    assert found.summary.said == said_of(store, main, twin) == found.manifest.inputs["words"]
    assert common_explainers(store, main, twin) == ("llm", "rule")
    table, said = found.latents["a"], [explained(store, one, "rule") for one in (main, twin)]
    pairs = [
        (one, int(other))
        for one, other in enumerate(table["correlation_partner"])
        if other >= 0 and one in said[0] and other in said[1]
    ]
    assert words["rule"].n_explained == len(pairs)
    known = np.isfinite(table["correlation_rule_similarity"])
    assert np.flatnonzero(known).tolist() == [one for one, _ in pairs]
    mirrored = Compared(workspace.run("main") / "compare-twin", turned=True)
    assert np.isfinite(mirrored.latents["a"]["correlation_rule_similarity"]).sum() == len(pairs)
    assert cell_of(mirrored.summary).words.keys() == {"llm", "rule"}
    keys = KeyTable(small_index.counted_tokens("test"))
    for one, other in pairs[:5]:
        sets = [set(keys.called(rule_of(s[n].predictor)).ranks) for s, n in zip(said, (one, other), strict=True)]
        if sets[0] | sets[1]:
            agreement = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
            assert table["correlation_rule_agreement"][one] == pytest.approx(agreement, abs=1e-6)
    reported = {one.name for one in gather(workspace, "main").figures}
    assert "compare/twin/correlation/rule/explanation_similarity" in reported
    assert not any("/best/" in name for name in reported)


def test_new_explanations_are_compared_anew_and_without_an_encoder_the_rest_is_there(workspace):
    config = CompareConfig(n_tokens=3000, least_active=3, encoder=None)
    store, (main, _) = ExplanationStore(workspace.database), index_ids(workspace)
    first = compare_with(workspace, "main", "twin", config)
    words = first.summary.measures["correlation"].words["rule"]
    assert "no encoder" in words.missing and first.summary.figure("correlation", "rule/predictor_agreement")
    assert compare_with(workspace, "main", "twin", config).manifest.id == first.manifest.id
    store.add(main, "c", [Explanation(latent=1, explainer="llm", status="explained", text="another", title="")])
    assert compare_with(workspace, "main", "twin", config).manifest.id != first.manifest.id
    nobody = compare_with(workspace, "main", "twin", config.model_copy(update={"encoder": "/nowhere"}))
    assert "nowhere" in nobody.summary.measures["correlation"].words["rule"].missing
    with pytest.raises(UserError, match="twice"):
        compare_all(workspace, ["main", "twin", "main"], config)


def test_an_abstention_is_no_text(workspace, small_index):
    store, (main, _) = ExplanationStore(workspace.database), index_ids(workspace)
    said = explained(store, main, "llm")
    found = texts_of(said, np.array([0, 1, 5, 39]), {})
    assert found.tolist() == [-1, 0, 1, 2], "what failed has a text that says so"
    assert called_by(said, np.array([1, 5]), KeyTable(small_index.counted_tokens("test"))) is None


def test_a_comparison_with_a_run_that_was_indexed_anew_is_left_out_of_the_report(workspace, tmp_path):
    shutil.copytree(workspace.path, tmp_path / "w")
    copy = Workspace(tmp_path / "w")
    compare_with(copy, "main", "twin", CompareConfig(n_tokens=3000, encoder=None))
    assert "compare-twin" not in gather(copy, "main").stale
    shutil.rmtree(copy.run("twin") / "index")
    found = gather(copy, "main")
    assert "compare-twin" in found.stale and not any(one.name.startswith("compare/") for one in found.figures)
