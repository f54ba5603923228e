"""Transcoders and crosscoders: what is planted between sites is found, and terms of the loss may run the model."""

import numpy as np
import pytest
import torch

from sparselex.activations.live import Reader
from sparselex.activations.source import Batch
from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.causal.edits import bound, put
from sparselex.causal.predictions import divergences, log_probabilities
from sparselex.causal.where import EVERYWHERE
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.lm.load import load_model
from sparselex.training.adam import Adam
from sparselex.training.config import TrainConfig
from sparselex.training.resample import Candidates, resample
from sparselex.training.step import Step
from sparselex.training.train import train

TWO_SITES = MixtureConfig(d_in=32, n_features=64, l0=3, d_out=24)


def config(kind, n_tokens=600_000, **values):
    options = {"batchtopk": {"k": 3}, "topk": {"k": 3}, "jumprelu": {"target_l0": 3}}.get(kind, {"l1": 2.0})
    return TrainConfig.parse(
        {
            "dictionary": {"kind": kind, "d_in": 32, "d_sae": 96, **options, **values},
            "n_tokens": n_tokens,
            "batch_size": 1000,
            "lr": 3e-3,
            "dead_after_tokens": 50_000,
            "checkpoint_tokens": 7_000,
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batchtopk", "topk", "relu", "jumprelu"])
def test_a_transcoder_finds_what_each_planted_feature_writes(kind, tmp_path):
    mixture = SparseMixture(TWO_SITES, batch_size=1000)
    dictionary = train(mixture, config(kind, d_out=24), tmp_path / "d", inputs={})
    assert mixture.target_directions is not None and dictionary.W_dec.shape == (96, 24)
    assert float((mixture.target_directions @ dictionary.W_dec.T).max(-1).values.mean()) > 0.95
    fresh = mixture.draw(9000)
    residual = (dictionary(fresh.x) - fresh.target).square().sum() / (
        fresh.target - fresh.target.mean(0)
    ).square().sum()
    assert float(residual) < (0.35 if kind == "relu" else 0.25)  # an L1 penalty shrinks


class WithLinearPart(SparseMixture):
    """The target is the planted mixture and a dense linear function of the input."""

    def draw(self, number):
        batch = super().draw(number)
        mixing = torch.randn(32, 24, generator=torch.Generator().manual_seed(7)) / 6
        return batch._replace(target=batch.target + batch.x @ mixing)


@pytest.mark.slow
def test_a_skip_connection_takes_up_what_is_linear(tmp_path):
    left = {}
    for skip in (False, True):
        mixture = WithLinearPart(TWO_SITES, batch_size=1000)
        dictionary = train(mixture, config("batchtopk", d_out=24, skip=skip), tmp_path / str(skip), inputs={})
        fresh = mixture.draw(9000)
        left[skip] = float((dictionary(fresh.x) - fresh.target).square().mean() / fresh.target.var())
    assert left[True] < 0.7 * left[False], left


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batchtopk", "relu"])
def test_a_crosscoder_finds_shared_and_one_sided_features(kind, tmp_path):
    """Two sites of other scale; the first 16 features are written at the first site only, the next 16 at the second
    only."""
    mixture = SparseMixture(MixtureConfig(d_in=48, n_features=64, l0=3), batch_size=1000)
    rows = mixture.directions.clone()
    rows[:16, 24:], rows[16:32, :24] = 0, 0
    rows[:, 24:] *= 10  # one model's activations may be far larger than the other's
    mixture.directions = rows
    chosen = config(kind, d_in=48, parts=(24, 24))
    dictionary = train(mixture, chosen, tmp_path / "d", inputs={})
    in_units = torch.cat([rows[:, :24] * dictionary.part_scales[0], rows[:, 24:] * dictionary.part_scales[1]], dim=-1)
    found = torch.cat(
        [dictionary.W_dec[:, :24] * dictionary.part_scales[0], dictionary.W_dec[:, 24:] * dictionary.part_scales[1]],
        dim=-1,
    )
    cosines = torch.nn.functional.normalize(in_units, dim=-1) @ torch.nn.functional.normalize(found, dim=-1).T
    best = cosines.max(-1)
    assert float(best.values.mean()) > 0.95
    share = (dictionary.part_norms()[1] / dictionary.part_norms().sum(0))[best.indices]
    assert float(share[:16].median()) < 0.05 and float(share[16:32].median()) > 0.95
    assert 0.25 < float(share[32:].median()) < 0.75


def test_a_transcoder_resumes_exactly(tmp_path):
    class Dying(SparseMixture):
        dies_at = 17

        def next_batch(self):
            if self._batch == self.dies_at:
                raise KeyboardInterrupt
            return super().next_batch()

    chosen = config("jumprelu", n_tokens=30_000, d_out=24, skip=True)
    train(SparseMixture(TWO_SITES, batch_size=1000), chosen, tmp_path / "whole", inputs={})
    with pytest.raises(KeyboardInterrupt):
        train(Dying(TWO_SITES, batch_size=1000), chosen, tmp_path / "again", inputs={})
    train(SparseMixture(TWO_SITES, batch_size=1000), chosen, tmp_path / "again", inputs={})
    for name in ("sae_weights.safetensors", "log.jsonl", "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_widths_of_targets_are_checked(tmp_path):
    mixture = SparseMixture(TWO_SITES, batch_size=1000)
    with pytest.raises(UserError, match="set d_out to 24"):
        train(mixture, config("topk", d_out=25), tmp_path / "d", inputs={})
    plain = SparseMixture(MixtureConfig(d_in=32), batch_size=1000)
    with pytest.raises(UserError, match="one site only"):
        train(plain, config("topk", d_out=24), tmp_path / "d", inputs={})


def test_a_site_that_is_zero_throughout_is_named(tmp_path):
    mixture = SparseMixture(MixtureConfig(d_in=48), batch_size=1000)
    mixture.directions[:, 24:] = 0
    with pytest.raises(UserError, match="site 2 are zero"):
        train(mixture, config("topk", d_in=48, parts=(24, 24)), tmp_path / "d", inputs={})


@pytest.mark.slow
def test_a_term_of_the_loss_can_run_the_model(small_index, tmp_path):
    """End-to-end KL: whole rows come in, the reconstruction is spliced in, gradients reach every parameter and the KL
    falls."""
    hook = "blocks.0.mlp.hook_post"
    model, corpus = load_model("embedded"), small_index.corpus
    reader = Reader(model, corpus, Sites.at(hook), batch_rows=8)

    class Rows:
        """Whole rows in corpus order: what a loss at the model's output needs."""

        d_in, d_out = reader.d_in, None

        def __init__(self):
            self.number = 0

        def next_batch(self) -> Batch:
            rows = corpus.row_ranges["train"]
            start = rows.start + 8 * (self.number % (len(rows) // 8))
            self.number += 1
            return reader.read(np.arange(start, start + 8))

        def state(self):
            return {"number": self.number}

        def load_state(self, state):
            self.number = state["number"]

    seen = []

    def end_to_end(step):
        rows = np.unique(step.positions // corpus.n_ctx)
        tokens = reader.tokens(rows)
        here = torch.zeros(len(rows), corpus.n_ctx, dtype=torch.bool)
        here[np.searchsorted(rows, step.positions // corpus.n_ctx), step.positions % corpus.n_ctx] = True
        whole = torch.zeros(*here.shape, step.x_hat.shape[1]).index_put(
            (here.nonzero()[:, 0], here.nonzero()[:, 1]), step.x_hat / scale
        )
        spliced = model.run(tokens, edits=bound(put(hook, whole, EVERYWHERE.within(here))), grad=True).logits
        kl = divergences(log_probabilities(model.run(tokens).logits), log_probabilities(spliced))[:, :-1].mean()
        before = torch.autograd.grad(kl, [step.dictionary.W_dec, step.dictionary.W_enc], retain_graph=True)
        seen.append((float(kl.detach()), *(float(g.abs().max()) for g in before)))
        return 300 * kl

    chosen = TrainConfig.parse(
        {
            "dictionary": {"kind": "topk", "d_in": 512, "d_sae": 256, "k": 16},
            "n_tokens": 24_000,
            "batch_size": 1000,
            "lr": 3e-3,
            "calibration_batches": 2,
        }
    )
    rows = Rows()
    x = torch.cat([rows.next_batch().x for _ in range(2)])
    scale = float((512 * len(x) / x.double().square().sum()).sqrt())
    train(Rows(), chosen, tmp_path / "with", inputs={}, terms=[end_to_end])
    assert all(min(line[1:]) > 0 for line in seen)
    assert np.mean([kl for kl, *_ in seen[-3:]]) < 0.7 * np.mean([kl for kl, *_ in seen[:3]])


def test_resampled_latents_of_a_transcoder_are_no_more_active_than_others():
    """Its data has a mean, which only the bias takes out."""
    generator = torch.Generator().manual_seed(0)
    chosen = config("relu", d_out=24, convention="2023", skip=True).dictionary
    dictionary = new_dictionary(chosen, generator)
    x, target = torch.randn(2000, 32, generator=generator) + 3, torch.randn(2000, 24, generator=generator) - 2
    dictionary.prepare(x, target)
    optimiser, dead = Adam(dictionary.parameters()), torch.arange(48)
    codes, past = dictionary.training_codes(x), dictionary.bypass(x)
    step = Step(dictionary, x, target, codes, dictionary.training_decode(codes) + past, dead, 0.5, past)
    resample(dictionary, dead, Candidates.of(step), optimiser, torch.Generator().manual_seed(0))
    density = (dictionary.encode(x) > 0).float().mean(0)
    assert 0.3 < float(density[:48].mean()) < 0.7 and 0.3 < float(density[48:].mean()) < 0.7


def test_a_gated_transcoder_starts_with_gates_and_sizes_that_agree():
    generator = torch.Generator().manual_seed(0)
    dictionary = new_dictionary(config("gated", d_out=24).dictionary, generator)
    x = torch.randn(500, 32, generator=generator) + 3
    dictionary.prepare(x, torch.randn(500, 24, generator=generator))
    with torch.no_grad():
        assert torch.equal(dictionary.encode(x) > 0, dictionary.pre_acts(x) > 0)


def test_a_frozen_transcoder_begins_with_what_it_keeps(tmp_path):
    from sparselex.base.staging import stage
    from sparselex.training.trainer import Trainer

    chosen = config("topk", d_out=24).model_copy(update={"frozen": "decoder"})
    with stage(tmp_path / "d", "dictionary", chosen, {}) as staging:
        first = new_dictionary(chosen.dictionary, torch.Generator().manual_seed(0))
        trainer = Trainer(first, chosen, staging)
        trainer.prepare([SparseMixture(TWO_SITES, batch_size=1000).draw(0)])
        before = trainer.dictionary.W_dec.detach().clone()
        trainer.step(SparseMixture(TWO_SITES, batch_size=1000).draw(1))
        assert torch.equal(trainer.dictionary.W_dec, before)
