"""Latents found again in other indexes: exact correlations, cosines of directions, and what cannot be compared."""

import numpy as np
import pytest

from sparselex.atlas.elsewhere import compared_by, elsewhere
from sparselex.base.errors import UserError
from sparselex.features.index import FeatureIndex
from sparselex.recipes.run import Run


def dense(index):
    """`[n_counted, d_sae]` of an index whose columns are few."""
    acts = np.zeros((len(index.counted), index.d_sae))
    for latent in range(index.d_sae):
        positions, values = index.column(latent)
        acts[positions, latent] = values
    return acts[index.counted]


@pytest.fixture(scope="module")
def indexes(small_workspace, small_index):
    twin = Run.open(small_workspace, "twin").index
    assert np.array_equal(small_index.counted, twin.counted)
    return small_index, twin


def test_correlations_across_models_equal_a_dense_search(indexes):
    left, right = indexes
    assert compared_by(left, right) == "activation"
    acts = [dense(index) for index in indexes]
    units = [part - part.mean(0) for part in acts]
    units = [part / np.maximum(np.linalg.norm(part, axis=0), 1e-30) for part in units]
    every, n_found = units[0].T @ units[1], 0
    for latent in range(0, left.d_sae, 4):
        found = elsewhere(left, latent, right, 3)
        for row in found:
            assert row.correlation == pytest.approx(every[latent, row.latent], abs=1e-5) and row.cosine is None
            assert row.n_both == ((acts[0][:, latent] != 0) & (acts[1][:, row.latent] != 0)).sum()
            assert row.n_tokens == len(acts[0])
        order = [(-row.correlation, row.latent) for row in found]
        assert order == sorted(order)
        if every[latent].max() > 0.4:
            n_found += 1
            assert found[0].correlation == pytest.approx(every[latent].max(), abs=1e-5)
    assert n_found > 5


def test_a_dictionary_of_the_same_site_is_compared_by_directions(small_index):
    directions = small_index.directions.astype(np.float64)
    unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-30)
    assert compared_by(small_index, small_index) == "direction"
    for latent in (0, 17, 255):
        found = elsewhere(small_index, latent, small_index, 4)
        assert found[0].latent == latent and found[0].cosine == pytest.approx(1)
        assert found[0].correlation == pytest.approx(1) or small_index.table["n_active"][latent] == 0
        expected = np.sort(unit @ unit[latent])[::-1][:4]
        assert np.allclose([row.cosine for row in found], expected, atol=1e-5)


def test_directions_are_those_of_the_decoder(small_workspace, small_index):
    W_dec = Run.open(small_workspace, "main").dictionary.W_dec.detach().double().numpy()
    kept = small_index.directions.astype(np.float64)
    cosines = (W_dec * kept).sum(1) / np.linalg.norm(W_dec, axis=1) / np.linalg.norm(kept, axis=1)
    assert cosines.min() > 0.998


def test_only_positions_that_both_counted_count(indexes, tmp_path):
    left, right = indexes
    fewer = FeatureIndex(right.path, right.corpus)
    fewer.counted = right.counted.copy()
    fewer.counted[::3] = False
    fewer.counted_hash = "another"
    acts, both = [np.zeros((len(left.counted), left.d_sae)) for _ in indexes], left.counted & fewer.counted
    for part, index in zip(acts, indexes, strict=True):
        for latent in range(index.d_sae):
            positions, values = index.column(latent)
            part[positions, latent] = values
    for latent in range(0, 256, 16):
        for row in elsewhere(left, latent, fewer, 2):
            pair = acts[0][both, latent], acts[1][both, row.latent]
            assert row.correlation == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-5)
            assert row.n_tokens == both.sum()


def test_what_shares_neither_site_nor_text_is_not_compared(small_index):
    other = FeatureIndex(small_index.path, small_index.corpus)
    other.manifest = other.manifest.model_copy(update={"inputs": {**other.manifest.inputs, "model": "another"}})
    assert compared_by(small_index, other) == "activation"
    other.corpus = type("Rows", (), {"id": "another"})()
    assert compared_by(small_index, other) is None and elsewhere(small_index, 3, other) == []
    with pytest.raises(UserError, match="There is no latent 256"):
        elsewhere(small_index, 256, small_index)
