"""The recipe of Towards Monosemanticity: what it says of resampling, of the decoder, of the loss, what it finds."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from sparselex.activations.ahead import LookAhead
from sparselex.activations.source import EndOfData
from sparselex.base.errors import UserError
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.recipes.of_2023 import OPTIONS, settings_of_2023
from sparselex.training.adam import Adam, groups_of
from sparselex.training.config import TrainConfig
from sparselex.training.dead import Silence
from sparselex.training.objectives import penalty, reconstruction
from sparselex.training.resample import Candidates, resample
from sparselex.training.step import Step
from sparselex.training.train import train
from tests.support.mixtures import mixture


def config(n_tokens=100_000, batch_size=500, settings=None, **dictionary):
    values = {"kind": "relu", "d_in": 32, "d_sae": 96, **OPTIONS, **dictionary}
    return TrainConfig.parse(
        {
            "dictionary": values,
            "n_tokens": n_tokens,
            "dead_after_tokens": 5_000,
            **settings_of_2023(n_tokens, 96),
            "batch_size": batch_size,
            "calibration_batches": 8,
            **(settings or {}),
        }
    )


def stepped(n_steps=6, seed=0):
    """A dictionary some steps on its way with the optimiser that took it there, and the last step."""
    dictionary = new_dictionary(config().dictionary, torch.Generator().manual_seed(seed))
    optimiser, source = Adam(groups_of(dictionary), lr=1e-3), mixture(batch_size=400)
    dictionary.take_scales([1.0], [1.0])
    for _ in range(n_steps):
        step = one_step(dictionary, optimiser, source.next_batch().x + 0.5)
    return dictionary, optimiser, step


def one_step(dictionary, optimiser, x):
    codes = dictionary.training_codes(x)
    step = Step(dictionary, x, x, codes, dictionary.training_decode(codes), torch.arange(0), 0.5)
    optimiser.zero_grad()
    (reconstruction(step) + penalty(step)).backward()
    optimiser.clipped_step(optimiser.gradient_norm(), float("inf"))
    return step


def test_decoder_rows_are_unit_after_every_step_and_adam_sees_no_gradient_along_them():
    dictionary = new_dictionary(config().dictionary, torch.Generator().manual_seed(0))
    # Without memory the first moment is the gradient that Adam was given.
    optimiser, source = Adam(groups_of(dictionary), lr=1e-3, betas=(0.0, 0.999)), mixture(batch_size=400)
    dictionary.take_scales([1.0], [1.0])
    for _ in range(6):
        rows = dictionary.W_dec.detach().clone()
        step = one_step(dictionary, optimiser, source.next_batch().x + 0.5)
        given = optimiser.state[dictionary.W_dec]["exp_avg"]
        size = given.norm(dim=-1).max()
        assert float(size) > 0 and float((given * rows).sum(-1).abs().max()) < 1e-5 * float(size)
        torch.testing.assert_close(dictionary.W_dec.detach().norm(dim=-1), torch.ones(96))
        assert not step.dictionary.W_dec.detach().equal(rows)


def test_resampling_touches_dead_latents_alone_and_forgets_exactly_their_moments():
    dictionary, optimiser, step = stepped()
    dead, alive = torch.tensor([3, 40, 95]), torch.tensor([n for n in range(96) if n not in (3, 40, 95)])
    weights = {name: value.detach().clone() for name, value in dictionary.named_parameters()}
    moments = {
        name: {key: optimiser.state[value][key].clone() for key in ("exp_avg", "exp_avg_sq", "step")}
        for name, value in dictionary.named_parameters()
    }
    among = Candidates.of(step)
    resample(dictionary, dead, among, optimiser, torch.Generator().manual_seed(1))
    drawn = among.draw(3, torch.Generator().manual_seed(1))
    x = among.x[drawn] / among.x[drawn].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(dictionary.W_dec[dead], x)
    live_norm = weights["W_enc"][:, alive].norm(dim=0).mean()
    torch.testing.assert_close(dictionary.W_enc.T[dead], 0.2 * live_norm * x)
    assert dictionary.b_enc[dead].eq(0).all()
    for name, dim in (("W_dec", 0), ("W_enc", 1), ("b_enc", 0)):
        now = dict(dictionary.named_parameters())[name]
        assert now.index_select(dim, alive).equal(weights[name].index_select(dim, alive))
        for key in ("exp_avg", "exp_avg_sq"):
            kept = optimiser.state[now][key]
            assert kept.index_select(dim, dead).eq(0).all()
            assert kept.index_select(dim, alive).equal(moments[name][key].index_select(dim, alive))
            assert moments[name][key].index_select(dim, alive).abs().sum() > 0
    bias = dictionary.b_dec
    assert bias.equal(weights["b_dec"]) and bias.detach().norm() > 0
    for name, value in dictionary.named_parameters():
        assert optimiser.state[value]["step"].equal(moments[name]["step"])
    assert optimiser.state[bias]["exp_avg"].equal(moments["b_dec"]["exp_avg"])


def test_tokens_are_drawn_in_proportion_to_their_squared_loss():
    loss = torch.tensor([0.5, 1.0, 2.0, 3.0, float("nan"), 4.0, 0.25])
    among = Candidates(torch.zeros(7, 2), torch.zeros(7, 2), loss)
    counts = torch.bincount(among.draw(40_000, torch.Generator().manual_seed(0)), minlength=7).numpy()
    fine = np.array([0, 1, 2, 3, 5, 6])
    shares = loss.numpy()[fine].astype(np.float64) ** 2
    assert counts[4] == 0
    assert chisquare(counts[fine], 40_000 * shares / shares.sum()).pvalue > 0.01
    # The same numbers by the loss itself, which other projects draw by, are refused.
    assert chisquare(counts[fine], 40_000 * shares**0.5 / (shares**0.5).sum()).pvalue < 1e-6


class Marked:
    """A source that gives the number of a token in the first coordinate, once each, and then no more."""

    d_in, d_out = 32, None

    def __init__(self, n_tokens=6_000):
        self._inside, self._n, self.n_tokens = mixture(batch_size=500), 0, n_tokens

    def next_batch(self):
        if self._n >= self.n_tokens:
            raise EndOfData
        batch = self._inside.next_batch()
        self._n += 500
        return batch

    def state(self):
        return self._inside.state() | {"n": self._n}

    def load_state(self, state):
        self._n = state["n"]
        self._inside.load_state({name: value for name, value in state.items() if name != "n"})


def test_looking_ahead_moves_nothing():
    plain, looking = Marked(), LookAhead(Marked())
    first = looking.next_batch()
    assert first.x.equal(plain.next_batch().x)
    coming = looking.ahead(1_200)
    assert [len(batch.x) for batch in coming] == [500] * 3 and looking.ahead(100)[0].x.equal(coming[0].x)
    assert looking.state() == plain.state()
    assert looking.next_batch().x.equal(plain.next_batch().x) and looking.state() == plain.state()
    again = LookAhead(Marked())
    again.load_state(looking.state())
    for _ in range(10):
        batch = plain.next_batch()
        assert looking.next_batch().x.equal(batch.x) and again.next_batch().x.equal(batch.x)
    assert looking.ahead(100) == []
    with pytest.raises(EndOfData):
        looking.next_batch()


def test_latents_are_resampled_to_tokens_that_come_and_training_resumes_exactly(tmp_path, monkeypatch):
    from sparselex.training import train as making
    from sparselex.training import trainer as module

    seen, plain, drawn = [], module.resample, making.new_dictionary

    def with_dead(*given):
        dictionary = drawn(*given)
        dictionary.b_enc.data[:48] = -1e3
        return dictionary

    monkeypatch.setattr(making, "new_dictionary", with_dead)

    def watched(dictionary, dead, among, *rest):
        seen.append((len(dead), len(among.x)))
        return plain(dictionary, dead, among, *rest)

    monkeypatch.setattr(module, "resample", watched)
    settings = {"resample_tokens": 1_200, "resample_after_tokens": 900, "checkpoint_tokens": 2_000, "lr": 0.01}
    cfg = config(n_tokens=20_000, l1=0.02, resample_shares=[0.2, 0.4, 0.6, 0.8], settings=settings)
    train(mixture(batch_size=500), cfg, tmp_path / "whole", inputs={})
    assert seen[0] == (48, 1_500)  # whole batches, of 1,200 tokens or more

    class Dying:
        d_in, d_out = 32, None

        def __init__(self):
            self._inside, self._left = mixture(batch_size=500), 8 + 14  # calibration reads eight

        def next_batch(self):
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
            return self._inside.next_batch()

        def state(self):
            return self._inside.state()

        def load_state(self, state):
            self._inside.load_state(state)

    with pytest.raises(KeyboardInterrupt):
        train(Dying(), cfg, tmp_path / "again", inputs={})
    train(mixture(batch_size=500), cfg, tmp_path / "again", inputs={})
    weights = [(tmp_path / name / "sae_weights.safetensors").read_bytes() for name in ("whole", "again")]
    assert weights[0] == weights[1]


def test_silence_is_counted_over_the_window_that_is_asked_for():
    silence = Silence(3, dead_after_tokens=10)
    silence.n_tokens[:] = torch.tensor([4, 10, 30])
    assert silence.dead.tolist() == [1, 2] and silence.silent_for(20).tolist() == [2]


def test_the_coefficient_in_either_convention_is_one_training(tmp_path):
    raw = config(n_tokens=4_000, l1=0.05)
    train(mixture(batch_size=500), raw, tmp_path / "raw", inputs={})
    manifest = json.loads((tmp_path / "raw" / "manifest.json").read_text())
    noted, scale = manifest["notes"]["l1"], manifest["notes"]["target_scales"][0]
    assert manifest["config"]["dictionary"]["l1_convention"] == "raw" and noted["raw"] == pytest.approx(0.05)
    # lambda * n in sums of squares, and once the scale for activations that were multiplied by it
    assert noted["scaled"] == pytest.approx(0.05 * 32 * scale)
    ours = config(n_tokens=4_000, l1=noted["scaled"], l1_convention="scaled")
    train(mixture(batch_size=500), ours, tmp_path / "scaled", inputs={})
    weights = [(tmp_path / name / "sae_weights.safetensors").read_bytes() for name in ("raw", "scaled")]
    assert weights[0] == weights[1]


def test_the_loss_is_the_papers_up_to_a_constant():
    """Written out: mean squared error of raw activations and the sum of raw activations of latents."""
    scale, x, lam = 0.37, mixture(batch_size=200).next_batch().x, 0.02
    dictionary = new_dictionary(config(l1=lam).dictionary, torch.Generator().manual_seed(3))
    dictionary.take_scales([scale], [scale])
    dictionary.prepare(scale * x, scale * x)
    codes = dictionary.training_codes(scale * x)
    step = Step(dictionary, scale * x, scale * x, codes, dictionary.training_decode(codes), torch.arange(0), 0.0)
    ours = float((reconstruction(step) + penalty(step)).detach())
    dictionary.fold([scale], [scale])  # reads and gives raw activations from here on
    acts = dictionary.encode(x)
    error = (x - dictionary.decode(acts)).square().mean(-1)
    paper = float((error + lam * acts.sum(-1)).mean().detach())
    assert ours == pytest.approx(scale**2 * 32 * paper, rel=1e-4)


def test_what_is_of_one_site_is_refused_elsewhere():
    for field in ("l1_convention", "resample_to"):
        options = {"resample_to": "centred", "l1_convention": "scaled"} | {field: OPTIONS[field]}
        with pytest.raises(UserError, match=field):
            config(d_out=24, **options)


def test_encoder_and_decoder_start_apart():
    dictionary = new_dictionary(config().dictionary, torch.Generator().manual_seed(0))
    W_enc, W_dec = dictionary.W_enc.detach().T, dictionary.W_dec.detach()
    bound = 32**-0.5
    assert float(W_enc.abs().max()) <= bound and float(W_enc.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    torch.testing.assert_close(W_dec.norm(dim=-1), torch.ones(96))
    cosines = (W_enc * W_dec).sum(-1) / W_enc.norm(dim=-1)
    assert float(cosines.mean().abs()) < 0.1
    assert dictionary.b_enc.eq(0).all()


def test_a_planted_dictionary_is_recovered(tmp_path):
    source = mixture(batch_size=500)
    cfg = config(n_tokens=200_000, l1=0.02, settings={"lr": 1e-2})
    dictionary = train(source, cfg, tmp_path / "d", inputs={})
    cosines = (source.directions @ dictionary.directions().T).max(-1).values
    random = torch.nn.functional.normalize(torch.randn(96, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    chance = float((source.directions @ random.T).max(-1).values.mean())
    assert float(cosines.mean()) >= 0.9 and chance < 0.6
