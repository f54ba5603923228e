"""Pairs around an MLP: the penalty against the slow way, what it does where the sparsest basis is known, and a start
that goes on."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.func import jacrev

from sparselex.activations.source import Batch
from sparselex.base.errors import UserError
from sparselex.causal.jacobians import Active, LatentMlp
from sparselex.dictionaries.side_by_side import SideBySide
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.evaluate.pairs.measured import COLUMNS, of_tokens
from sparselex.lm.mlps import Formula
from sparselex.training.measure import fvu
from sparselex.training.pairs import JacobianPenalty, PairConfig, PairJob, reads_of, train_pairs, writes_of
from sparselex.training.step import Step

D = 12


def one_to_one(dtype=torch.float32):
    """An MLP of which each hidden unit reads one direction and writes one, all of them orthogonal."""
    generator = torch.Generator().manual_seed(5)
    turned = lambda: torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64)).Q.to(dtype)
    return Formula(torch.relu, turned(), torch.zeros(D, dtype=dtype), turned(), torch.zeros(D, dtype=dtype))


class Around:
    """A source of what the MLP reads, alike in every direction, and of what it writes."""

    d_in, d_out = 2 * D, None

    def __init__(self, mlp, stops=None):
        self.mlp, self.n, self.stops = mlp, 0, stops

    def next_batch(self):
        if self.n == self.stops:
            raise KeyboardInterrupt
        x = torch.randn(256, D, generator=torch.Generator().manual_seed(self.n))
        self.n += 1
        return Batch(torch.cat([x, self.mlp.of(x)], dim=-1), np.arange(256))

    def state(self):
        return {"n": self.n}

    def load_state(self, state):
        self.n = state["n"]


def config(weight=3.0, steps=300, **options):
    kind = TopKConfig(d_in=D, d_sae=2 * D, k=6)
    values = {"x": kind, "y": kind, "weight": weight, "every": 2, "n_tokens": 256 * steps, "batch_size": 256}
    return PairConfig.parse(values | {"lr": 3e-3} | options, "a pair")


def test_the_penalty_is_the_mean_size_of_contributions_derivatives():
    """By reverse mode, from contributions of the scaled input to contributions behind the MLP, for rows that are not of
    length 1; in float64 to twelve digits, its gradients too."""
    generator = torch.Generator().manual_seed(1)
    mlp = one_to_one(torch.float64)._replace(activation=torch.nn.functional.gelu)
    pair = SideBySide([new_dictionary(TopKConfig(d_in=D, d_sae=20, k=3), generator) for _ in range(2)]).double()
    with torch.no_grad():
        for part in pair.each:
            part.W_dec.mul_(torch.rand(20, 1, generator=generator, dtype=torch.float64) + 0.5)
            part.get_parameter("W_enc").add_(0.1 * torch.randn(D, 20, generator=generator, dtype=torch.float64))
    scales = (0.7, 1.9)
    x = torch.randn(8, D, generator=generator, dtype=torch.float64)
    both = torch.cat([scales[0] * x, scales[1] * mlp.of(x)], dim=-1)

    def stepped():
        codes = pair.training_codes(both)
        x_hat = pair.training_decode(codes)
        return Step(pair, both, both, codes, x_hat, torch.tensor([], dtype=torch.int64), 0.0)

    def slow():
        step = stepped()
        one, other = pair.each
        found = []
        for row in range(0, len(x), 2):
            source, later = (codes.indices[codes.rows == row] for codes in pair.codes_of(step.codes))
            acts = pair.codes_of(step.codes)[0].dense()[row, source]
            sizes = one.W_dec[source].norm(dim=-1)

            def whole(contributions, source=source, later=later, sizes=sizes):
                x_hat = (contributions / sizes) @ one.W_dec[source] + one.b_dec
                y = scales[1] * mlp.of((x_hat / scales[0])[None])
                return other.pre_acts(y)[0, later] * other.W_dec[later].norm(dim=-1)

            found.append(jacrev(whole)(acts * sizes).abs().flatten())
        return 3.0 * D * torch.cat(found).mean()

    penalty = JacobianPenalty(partial(LatentMlp.of, mlp), config(), lambda: scales)
    torch.testing.assert_close(penalty(stepped()), slow(), rtol=1e-12, atol=0)
    parameters = list(pair.parameters())
    quick = torch.autograd.grad(penalty(stepped()), parameters, allow_unused=True)
    for one, other in zip(quick, torch.autograd.grad(slow(), parameters, allow_unused=True), strict=True):
        assert (one is None or not one.any()) if other is None else True
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def looked_at(trained, mlp):
    """FVU of both sites and the sums of Jacobians, over tokens that training has not seen."""
    x = torch.randn(2000, D, generator=torch.Generator().manual_seed(10**6))
    both = torch.cat([x, mlp.of(x)], dim=-1)
    pair = trained.dictionary
    codes = pair.encode_sparse(both)
    left = [fvu(*parts) for parts in zip(pair.columns(pair.decode_sparse(codes)), pair.columns(both), strict=True)]
    before, behind = pair.each
    latent = LatentMlp.of(mlp, writes_of(before), reads_of(behind))
    source, later = (Active.of(one) for one in pair.codes_of(codes))
    sums = of_tokens(latent.jacobians(pair.columns(pair.decode_sparse(codes))[0], source, later)).sum(0)
    return left, dict(zip(COLUMNS, sums.tolist(), strict=True))


def test_where_features_map_one_to_one_the_penalised_pair_finds_them(tmp_path):
    """What the MLP reads is alike in every direction, so that reconstruction alone has no reason to choose those that
    its units read. With the penalty most entries vanish, and reconstruction stays what it was."""
    mlp = one_to_one()
    jobs = [PairJob(config(weight, 600, lr=5e-3), tmp_path / f"{weight}", {}) for weight in (0.3, 0.0)]
    trained = train_pairs(Around(mlp), jobs, partial(LatentMlp.of, mlp))
    (own, sums), (plain, without) = (looked_at(one, mlp) for one in trained)
    share = lambda one, name, of: one[name] / one[of]
    assert share(sums, "above 0.04", "entries") < 0.65 * share(without, "above 0.04", "entries")
    assert share(sums, "held", "tokens") < 0.65 * share(without, "held", "tokens")
    assert sums["s4"] > 1.5 * without["s4"]
    for mine, other in zip(own, plain, strict=True):
        assert mine < other + 0.005 < 0.12


def test_stopped_it_goes_on_to_the_same_weights(tmp_path):
    mlp = one_to_one()
    between = partial(LatentMlp.of, mlp)
    behind = BatchTopKConfig(d_in=D, d_sae=2 * D, k=6)
    options = {"steps": 30, "checkpoint_tokens": 256 * 10, "y": behind}
    jobs = lambda name: [PairJob(config(weight, **options), tmp_path / f"{name}{weight}", {}) for weight in (1.0, 0.0)]
    whole = train_pairs(Around(mlp), jobs("whole"), between)
    with pytest.raises(KeyboardInterrupt):
        train_pairs(Around(mlp, stops=25), jobs("stopped"), between)
    again = train_pairs(Around(mlp), jobs("stopped"), between)
    for one, other in zip(whole, again, strict=True):
        assert one.id == other.id and one.scales == other.scales
    assert train_pairs(Around(mlp, stops=0), jobs("whole"), between)[0].id == whole[0].id  # nothing is read again


def test_other_widths_are_refused(tmp_path):
    mlp = one_to_one()
    wide = TopKConfig(d_in=D + 1, d_sae=20, k=3)
    with pytest.raises(UserError, match="width 24"):
        train_pairs(Around(mlp), [PairJob(config(x=wide), tmp_path / "a", {})], partial(LatentMlp.of, mlp))
