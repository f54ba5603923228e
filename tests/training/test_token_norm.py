"""Training on tokens that are each normalised by themselves: what is folded is what was trained."""

import json

import pytest
import torch

from sparselex.activations.source import Batch
from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.dictionaries.token_norm import normalised
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

HOWS = ["layer", "length"]


class Sized(SparseMixture):
    """A mixture whose tokens differ in size and mean by orders of magnitude."""

    dies_at = None

    def next_batch(self):
        batch = super().next_batch()
        if self.dies_at is not None and self.n >= self.dies_at:
            raise RuntimeError("killed")
        self.n += 1
        return resized(batch, self.n)

    n = 0

    def state(self):
        return {"n": self.n, "inner": super().state()}

    def load_state(self, state):
        self.n = state["n"]
        super().load_state(state["inner"])


def resized(batch, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = 10 ** (3 * torch.rand(len(batch.x), 1, generator=generator) - 1)
    return Batch((batch.x + torch.randn(len(batch.x), 1, generator=generator)) * sizes, batch.positions)


def source():
    return Sized(MixtureConfig(d_in=32, n_features=64, l0=3, noise=0.02), batch_size=1000)


def config(how, kind="batchtopk", n_tokens=30_000, **more):
    options = {"k": 3} if "topk" in kind else {}
    return TrainConfig.parse(
        {
            "dictionary": {"kind": kind, "d_in": 32, "d_sae": 96, "token_norm": how, **options},
            "n_tokens": n_tokens,
            "batch_size": 1000,
            "dead_after_tokens": 10_000,
            "lr": 3e-3,
            "checkpoint_tokens": 7_000,
            **more,
        }
    )


@pytest.mark.parametrize("kind", ["batchtopk", "jumprelu", "archetypal"])
@pytest.mark.parametrize("how", HOWS)
def test_the_folded_dictionary_reconstructs_raw_tokens_as_training_did_normalised_ones(how, kind, tmp_path):
    held_out = source().next_batch()
    options = {"n_points": 64, "k": 3} if kind == "archetypal" else {}
    chosen = config(how, kind)
    chosen = chosen.model_copy(update={"dictionary": chosen.dictionary.model_copy(update=options)})
    dictionary = train(source(), chosen, tmp_path / "d", inputs={}, validation=held_out)
    lines = [json.loads(line) for line in (tmp_path / "d" / "log.jsonl").read_text().splitlines()]
    line = next(line for line in reversed(lines) if "validation_fvu" in line)
    token, codes = normalised(held_out.x, how), dictionary.encode_sparse(held_out.x)
    x_hat = (dictionary(held_out.x) - token.shift) / token.size
    fvu = (x_hat - token.x).square().sum() / (token.x - token.x.mean(0)).square().sum()
    assert 0 < line["validation_fvu"] < 0.9
    assert float(fvu) == pytest.approx(line["validation_fvu"], rel=1e-3)
    assert len(codes.indices) / len(held_out.x) == pytest.approx(line["validation_l0"], abs=2e-3)


@pytest.mark.slow
def test_directions_are_found_where_raw_tokens_hide_them(tmp_path):
    """Without normalisation a few large tokens are all that the loss sees, and BatchTopK's threshold shuts out the
    small ones."""
    found = {
        how: train(source(), config(how, n_tokens=300_000), tmp_path / how, inputs={}) for how in ("none", "layer")
    }
    x = source().next_batch().x
    silent = {
        how: float((dictionary.encode(x) != 0).any(-1).logical_not().double().mean())
        for how, dictionary in found.items()
    }
    assert silent["layer"] < 0.05 < 0.3 < silent["none"]


@pytest.mark.parametrize("how", HOWS)
def test_killed_and_run_again_it_ends_in_the_same_bytes(how, tmp_path):
    train(source(), config(how), tmp_path / "whole", inputs={})
    dying = source()
    dying.dies_at = 23
    with pytest.raises(RuntimeError, match="killed"):
        train(dying, config(how), tmp_path / "killed", inputs={})
    train(source(), config(how), tmp_path / "killed", inputs={})
    for name in ("sae_weights.safetensors", "log.jsonl", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
