"""Stability between seeds: known cases, and chance as its null."""

import pytest
import torch

from sparselex.atlas import matching as stability
from sparselex.atlas.matching import compare, stability_figures
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.abstopk import AbsTopKConfig
from sparselex.dictionaries.types.clt import CrossLayerConfig
from sparselex.dictionaries.types.topk import TopKConfig


def dictionary(seed, d_sae=60, d_in=16):
    return new_dictionary(TopKConfig(d_in=d_in, d_sae=d_sae, k=2), torch.Generator().manual_seed(seed)).requires_grad_(
        False
    )


def by_name(figures):
    return {figure.name.rpartition("/")[2]: figure for figure in figures}


def reordered(original, order):
    other = dictionary(0)
    other.W_dec.copy_(original.W_dec[order])
    other.W_enc.copy_(original.W_enc[:, order])
    return other


def test_the_same_latents_in_another_order_are_all_shared():
    original = dictionary(0)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    found = by_name(stability_figures([original, reordered(original, order)], "x"))
    for name in ("nearest_cosine", "matched_cosine", "shared_share"):
        assert (
            found[name].value == pytest.approx(1, abs=1e-5)
            and found[name].controls["random"] < 0.8
            and found[name].n == 60
        )


def test_unrelated_dictionaries_are_no_better_than_random_rows():
    found = by_name(stability_figures([dictionary(seed) for seed in range(3)], "x"))
    assert found["matched_cosine"].n == 3 * 60
    for name in ("nearest_cosine", "matched_cosine"):
        assert found[name].value == pytest.approx(found[name].controls["random"], abs=0.05)
    assert found["shared_share"].value < 0.1


def test_a_shared_latent_must_be_read_alike_too():
    original = dictionary(0)
    other = reordered(original, torch.arange(60))
    other.W_enc.copy_(dictionary(5).W_enc)
    pair = compare(original, other)
    assert float(pair.matched.mean()) == pytest.approx(1, abs=1e-5) and not pair.shared.any()


def crosscoder(seed, scales):
    config = TopKConfig(d_in=16, d_sae=60, k=2, parts=(10, 6))
    found = new_dictionary(config, torch.Generator().manual_seed(seed)).requires_grad_(False)
    found.fold(scales, scales)
    return found


def test_a_site_of_small_activations_counts_no_more_than_others():
    """The same crosscoders for a second site whose activations are a thousandth as long: nothing else is shared."""
    plain, small = ([crosscoder(seed, scales) for seed in (0, 1)] for scales in ((1.0, 1.0), (1.0, 1000.0)))
    for one, other in zip(plain, small, strict=True):
        torch.testing.assert_close(one.encoder_rows(), other.encoder_rows())
    for dictionaries in (plain, small):
        dictionaries[1].W_enc[10:].copy_(dictionaries[0].W_enc[10:])  # the second site is read alike, the first not
        dictionaries[1].W_dec.copy_(dictionaries[0].W_dec)
    assert not compare(*plain).shared.all() and torch.equal(compare(*plain).shared, compare(*small).shared)


def test_opposite_directions_are_one_latent_only_where_codes_are_signed():
    def opposite(config):
        one, other = (new_dictionary(config, torch.Generator().manual_seed(0)).requires_grad_(False) for _ in range(2))
        other.W_dec.neg_()
        other.W_enc.neg_()
        return one, other

    sizes = {"d_in": 16, "d_sae": 60, "k": 2}
    assert float(compare(*opposite(TopKConfig(**sizes))).matched.mean()) < 0.8
    pair = compare(*opposite(AbsTopKConfig(**sizes)))
    assert float(pair.matched.mean()) == pytest.approx(1, abs=1e-5) and pair.shared.all()
    (share,) = [f for f in stability_figures(opposite(AbsTopKConfig(**sizes)), "x") if f.name == "x/shared_share"]
    assert share.value == 1


def test_the_matching_is_one_to_one_and_the_best(monkeypatch):
    """Two latents with the same nearest neighbour: only one of them can have it."""
    left, right = dictionary(0, d_sae=2, d_in=4), dictionary(1, d_sae=2, d_in=4)
    left.W_dec.copy_(torch.tensor([[1.0, 0.1, 0, 0], [1, 0.0, 0, 0]]))
    right.W_dec.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    pair = compare(left, right)
    assert (pair.nearest > 0.99).all() and sorted(pair.matched.tolist()) == pytest.approx([0.0995, 1.0], abs=1e-3)
    monkeypatch.setattr(stability, "MOST_MATCHED", 1)
    found = by_name(stability_figures([left, right], "x"))
    assert found["nearest_cosine"].value > 0.99 and "up to 1 latents" in found["matched_cosine"].failure


def test_cross_layer_transcoders_are_compared_where_they_read_and_write():
    config = CrossLayerConfig(d_in=8, d_sae=20, d_out=8, layers_in=(4, 4), layers_out=(4, 4), k=2)
    first, other = (
        new_dictionary(config, torch.Generator().manual_seed(seed)).requires_grad_(False) for seed in (0, 1)
    )
    same = new_dictionary(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    assert compare(first, same).shared.all()
    for layer in range(2):
        same.W_enc[layer].copy_(other.W_enc[layer])  # written alike, read otherwise
    assert not compare(first, same).shared.all()
    read = first.encoder_rows()
    assert torch.equal(read[:10, :4], first.W_enc[0].T) and not read[:10, 4:].any()
    found = by_name(stability_figures([first, other], "x"))
    assert found["nearest_cosine"].value == pytest.approx(found["nearest_cosine"].controls["random"], abs=0.1)


def tokens(seed, n=400, d=16):
    """Activations that vary along a few directions, some of them again and again."""
    generator = torch.Generator().manual_seed(seed)
    kinds = 3 * torch.randn(12, d, generator=torch.Generator().manual_seed(77))
    x = kinds[torch.randint(12, (n,), generator=generator)] + 0.3 * torch.randn(n, d, generator=generator)
    return x - x.mean(0)


def test_activations_against_each_other_are_as_stable_as_the_printed_null():
    """Dictionaries whose rows are activations: two samples that share no token."""
    points = tokens(0, 4000)
    left, right = dictionary(0), dictionary(1)
    left.W_dec.copy_(tokens(1)[:60])
    right.W_dec.copy_(tokens(2)[:60])
    found = by_name(stability_figures([left, right], "x", points))
    for name in ("nearest_cosine", "matched_cosine"):
        assert found[name].value == pytest.approx(found[name].null, abs=0.1), name
        assert found[name].null > found[name].controls["covariance"] > found[name].controls["random"], name


def test_nulls_are_those_of_a_loop():
    points = tokens(0, 4000)
    nulls = stability._nulls(dictionary(0), points)
    generator = torch.Generator().manual_seed(3)
    spread = torch.linalg.cholesky(points.T @ points / len(points)).T
    for name, draw in {
        "random": lambda: torch.randn(60, 16, generator=generator),
        "covariance": lambda: torch.randn(60, 16, generator=generator) @ spread,
    }.items():
        left, right = (torch.nn.functional.normalize(draw(), dim=-1) for _ in range(2))
        assert float(nulls[name].nearest.mean()) == pytest.approx(float((left @ right.T).amax(-1).mean()), abs=0.03)


def test_too_few_activations_make_no_null():
    found = by_name(stability_figures([dictionary(0), dictionary(1)], "x", tokens(0, 119)))
    assert found["nearest_cosine"].null is None and set(found["nearest_cosine"].controls) == {"random", "covariance"}
