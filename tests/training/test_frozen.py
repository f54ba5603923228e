"""Frozen controls: what is frozen stays to the bit, cones are projected on exactly, and the controls have teeth."""

import pytest
import torch

from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.base.seeds import derive
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.frozen import Freeze, into_cone
from sparselex.training.train import train

MIXTURE = MixtureConfig(d_in=32, n_features=64, l0=3)
KINDS = {
    "batchtopk": {"kind": "batchtopk", "k": 3},
    "relu": {"kind": "relu", "l1": 2.0},
    "relu 2023": {"kind": "relu", "l1": 2.0, "convention": "2023", "resample_shares": [0.5]},
    "jumprelu": {"kind": "jumprelu", "target_l0": 3},
    "gated": {"kind": "gated", "l1": 4.0},
    "matryoshka": {"kind": "matryoshka", "k": 3, "prefixes": [0.7]},
}


def config(kind="batchtopk", n_tokens=20_000, **options):
    values = {
        "dictionary": KINDS[kind] | {"d_in": 32, "d_sae": 96},
        "n_tokens": n_tokens,
        "batch_size": 1000,
        "lr": 3e-3,
        "dead_after_tokens": 5_000,
        "checkpoint_tokens": 7_000,
    }
    return TrainConfig.parse(values | options)


def source(kind=SparseMixture):
    return kind(MIXTURE, batch_size=1000)


def first_weights(cfg):
    return new_dictionary(cfg.dictionary, torch.Generator().manual_seed(derive(cfg.seed, "dictionary")))


def cosines(left, right):
    return torch.nn.functional.cosine_similarity(left, right, dim=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_decoder_is_the_first_one_to_the_bit(kind, tmp_path):
    cfg = config(kind, frozen="decoder")
    found, first = train(source(), cfg, tmp_path / "d", inputs={}), first_weights(cfg)
    with torch.no_grad():
        first.W_dec /= first.W_dec.norm(dim=-1, keepdim=True)  # as folding does
    assert torch.equal(found.W_dec, first.W_dec)
    assert (cosines(found.W_enc.T, first.W_enc.T) < 0.999).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_encoder_keeps_every_direction(kind, tmp_path):
    cfg = config(kind, frozen="encoder")
    found, first = train(source(), cfg, tmp_path / "d", inputs={}), first_weights(cfg)
    assert cosines(found.W_enc.T, first.W_enc.T).min() > 1 - 1e-6  # folding scales columns
    assert (cosines(found.W_dec, first.W_dec) < 0.999).any()


@pytest.mark.slow
@pytest.mark.parametrize("cosine", [0.95, 0.98])
@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_decoder_stays_in_its_cones_and_reaches_their_edges(kind, cosine, tmp_path):
    cfg = config(kind, 60_000, frozen="soft_decoder", frozen_cosine=cosine)
    found, first = train(source(), cfg, tmp_path / "d", inputs={}), first_weights(cfg)
    kept = cosines(found.W_dec, first.W_dec)
    assert kept.min() > cosine - 1e-5 and kept.min() < cosine + 1e-4
    torch.testing.assert_close(found.W_dec.norm(dim=-1), torch.ones(96))


@pytest.mark.parametrize("frozen", ["decoder", "encoder"])
def test_what_is_frozen_equals_training_with_that_gradient_cut(frozen, tmp_path):
    """A slow reference: a parameter that needs no gradient, left out of Adam."""
    cfg = config(frozen=frozen, auxk_alpha=0.0, n_tokens=5_000)
    found = train(source(), cfg, tmp_path / "d", inputs={})
    dictionary = first_weights(cfg)
    scale = (32 / torch.cat([source().sample(n) for n in range(5)]).double().square().sum(-1).mean()).sqrt().float()
    sample = torch.cat([source().sample(n) for n in range(5)]) * scale
    dictionary.prepare(sample, sample)
    held = dictionary.W_dec if frozen == "decoder" else dictionary.W_enc
    held.requires_grad_(False)
    learned = [p for p in dictionary.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=3e-3)
    for step in range(5):
        x = source().sample(step) * scale
        codes = dictionary.training_codes(x, gradients="dense")
        loss = (codes.dense() @ dictionary.W_dec + dictionary.b_dec - x).square().sum() / len(x)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1.0, 5 - step)  # one step of warmup, one of decay
        optimiser.step()
    dictionary.fold([float(scale)], [float(scale)])
    torch.testing.assert_close(found.W_enc, dictionary.W_enc, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.W_dec, dictionary.W_dec, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_each_option_changes_something(tmp_path):
    chosen = [
        {},
        {"frozen": "decoder"},
        {"frozen": "encoder"},
        {"frozen": "soft_decoder", "frozen_cosine": 0.96},
        {"frozen": "soft_decoder", "frozen_cosine": 0.98},
    ]
    found = [
        train(source(), config(n_tokens=40_000, **values), tmp_path / str(n), inputs={}).W_enc
        for n, values in enumerate(chosen)
    ]
    assert len({value.detach().numpy().tobytes() for value in found}) == len(chosen)


class Killed(Exception):
    pass


class Dying(SparseMixture):
    def next_batch(self):
        if self._batch == 13:
            raise Killed
        return super().next_batch()


@pytest.mark.parametrize("frozen", ["decoder", "soft_decoder", "encoder"])
def test_killed_and_run_again_it_ends_in_the_same_bytes(frozen, tmp_path):
    cfg = config(frozen=frozen)
    train(source(), cfg, tmp_path / "whole", inputs={})
    with pytest.raises(Killed):
        train(source(Dying), cfg, tmp_path / "killed", inputs={})
    train(source(), cfg, tmp_path / "killed", inputs={})
    name = "sae_weights.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_frozen_decoder_does_not_find_what_a_trained_one_finds(tmp_path):
    planted = source().directions
    fresh = source().sample(9_000)
    recovered, fvu = {}, {}
    for frozen in ("nothing", "soft_decoder", "encoder", "decoder"):
        found = train(source(), config(n_tokens=300_000, frozen=frozen), tmp_path / frozen, inputs={})
        recovered[frozen] = float((planted @ found.W_dec.T).amax(-1).mean())
        fvu[frozen] = float((found(fresh) - fresh).square().sum() / (fresh - fresh.mean(0)).square().sum())
    assert recovered["nothing"] > 0.95 and recovered["decoder"] < 0.6, recovered
    assert recovered["decoder"] < recovered["soft_decoder"] < recovered["nothing"], recovered
    assert fvu["nothing"] < 0.15 and min(fvu["decoder"], fvu["encoder"]) > 0.45, fvu
    assert fvu["nothing"] < fvu["soft_decoder"] < min(fvu["decoder"], fvu["encoder"]), fvu


# The cone


def slow_projection(row, axis, cosine):
    """The nearest point of the cone, by looking at very many points of the plane that holds row and axis."""
    unit = axis / axis.norm()
    across = row - (row @ unit) * unit
    across = across / across.norm()
    angles = torch.linspace(0, float(torch.tensor(cosine).acos()), 20_001, dtype=torch.float64)
    edges = angles.cos()[:, None] * unit + angles.sin()[:, None] * across
    points = (edges @ row).clamp_min(0)[:, None] * edges
    return points[(points - row).square().sum(-1).argmin()]


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.8, 0.99])
def test_the_projection_is_the_nearest_point_of_the_cone(cosine):
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    noise = torch.rand(200, 1, generator=generator) ** 4 * torch.randn(200, 5, generator=generator, dtype=torch.float64)
    rows = axes * torch.rand(200, 1, generator=generator) + 3 * noise
    found = into_cone(rows, axes, cosine)
    expected = torch.stack([slow_projection(row, axis, cosine) for row, axis in zip(rows, axes)])
    tips = expected.norm(dim=-1) == 0
    torch.testing.assert_close(found[~tips], expected[~tips], rtol=1e-3, atol=1e-3)
    assert (found[tips].norm(dim=-1) <= 1.001e-6 * axes[tips].norm(dim=-1)).all()
    assert (cosines(found, axes) >= cosine - 1e-9).all()
    torch.testing.assert_close(into_cone(found, axes, cosine), found)
    inside = cosines(rows, axes) > cosine + 1e-9
    assert inside.any() and torch.equal(found[inside], rows[inside])


@pytest.mark.parametrize("row", [[0.0, 0.0], [-2.0, 0.0]])
def test_rows_without_a_plane_end_beside_the_tip(row):
    found = into_cone(torch.tensor([row]), torch.tensor([[3.0, 0.0]]), 0.8)
    assert found.isfinite().all() and float(cosines(found, torch.tensor([[1.0, 0.0]]))) >= 0.8 - 1e-6
    assert 0 < float(found.norm()) < 1e-5


# What cannot be


def test_a_type_without_the_matrix_is_refused():
    class Bare(TrainableDictionary):
        encode = training_codes = prepare = fold = None

    with pytest.raises(UserError, match="Bare dictionaries have no W_dec"):
        Freeze(Bare(), "decoder", 0.8)


@pytest.mark.parametrize("values", [{"frozen": "everything"}, {"frozen_cosine": 1.5}, {"frozen_cosine": -0.1}], ids=str)
def test_impossible_values_are_named(values):
    with pytest.raises(UserError, match=next(iter(values))):
        config(**values)
