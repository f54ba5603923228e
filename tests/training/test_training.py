"""Training: planted dictionaries are found, dead latents come back, any interruption leaves no trace."""

import json

import numpy as np
import pytest
import torch

from sparselex.activations.source import Batch
from sparselex.activations.synthetic import SparseMixture
from sparselex.base.errors import UserError
from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.table import config_type
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.training.config import TrainConfig
from sparselex.training.dead import Silence
from sparselex.training.decoder import normalise, project_out
from sparselex.training.leaves import Leaves
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.schedules import lr_factor
from sparselex.training.step import Step
from sparselex.training.train import train
from tests.support.contents import contents
from tests.support.mixtures import KINDS as ALL
from tests.support.mixtures import SIZE, mixture, values_of

MIXTURE = mixture().config
VARIANTS = {
    "relu 2023": {"kind": "relu", "l1": 2.0, "convention": "2023"},
    "jumprelu everything": {"kind": "jumprelu", "target_l0": 3, "gradient": "everything", "bandwidth": 1.0},
    "jumprelu tanh": {
        "kind": "jumprelu",
        "target_l0": 6,
        "sparsity": "tanh",
        "gradient": "everything",
        "bandwidth": 1.0,
    },
}
VALUES = {kind: values_of(kind) for kind in ALL if kind != "clt"} | {n: SIZE | v for n, v in VARIANTS.items()}
KINDS = {name: config_type(values["kind"]).model_validate(values) for name, values in VALUES.items()}


def config(kind="batchtopk", n_tokens=40_000, **options):
    values = {"batch_size": 1000, "dead_after_tokens": 10_000, "checkpoint_tokens": 7_000, "log_steps": 3}
    return TrainConfig(dictionary=KINDS[kind], n_tokens=n_tokens, **values | options)


def source():
    return SparseMixture(MIXTURE, batch_size=1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_dictionary_is_recovered(kind, tmp_path):
    mixture = source()
    n_tokens = 1_200_000 if kind == "abstopk" else 600_000
    dictionary = train(mixture, config(kind, n_tokens, lr=3e-3, dead_after_tokens=50_000), tmp_path / "d", inputs={})
    cosines = mixture.directions @ dictionary.W_dec.T
    if kind == "abstopk":  # a direction and its opposite are one latent
        cosines = cosines.abs()
    assert float(cosines.max(-1).values.mean()) > 0.95
    torch.testing.assert_close(dictionary.W_dec.norm(dim=-1), torch.ones(96))


@pytest.mark.slow
@pytest.mark.parametrize(("gradient", "target"), [("threshold", 3), ("threshold", 6), ("everything", 3)])
def test_jumprelu_reaches_its_target_l0(gradient, target, tmp_path):
    values = {"gradient": gradient, "bandwidth": 0.5 if gradient == "threshold" else 1.0}
    chosen = TrainConfig.parse(
        {
            "dictionary": {"kind": "jumprelu", **SIZE, "target_l0": target, **values},
            "n_tokens": 600_000,
            "batch_size": 1000,
            "lr": 3e-3,
            "dead_after_tokens": 50_000,
        }
    )
    dictionary = train(source(), chosen, tmp_path / "d", inputs={})
    fresh = torch.cat([source().sample(n) for n in range(9000, 9010)])
    l0 = float((dictionary.encode(fresh) != 0).sum()) / len(fresh)
    assert abs(l0 / target - 1) < 0.1, l0


def test_a_unit_decoder_stays_one_and_moves_along_the_sphere():
    W = torch.nn.Parameter(torch.randn(5, 7, dtype=torch.float64))
    normalise(W)
    W.grad = torch.randn(5, 7, dtype=torch.float64)
    before = W.grad.clone()
    project_out(W)
    torch.testing.assert_close((W.grad * W).sum(-1), torch.zeros(5, dtype=torch.float64))
    along = (before * W).sum(-1, keepdim=True) * W
    torch.testing.assert_close(W.grad, before - along)
    torch.testing.assert_close(W.norm(dim=-1), torch.ones(5, dtype=torch.float64))


def test_resampling_revives_dead_latents_and_resumes_exactly(tmp_path, monkeypatch):
    from sparselex.training import train as module

    plain = module.new_dictionary

    def with_dead(*given):
        dictionary = plain(*given)
        dictionary.b_enc.data[:48] = -1e3
        return dictionary

    monkeypatch.setattr(module, "new_dictionary", with_dead)
    shares = {}
    for name, when in (("with", (0.3, 0.5)), ("without", ())):
        relu = KINDS["relu 2023"].model_copy(update={"resample_shares": when})
        cfg = config(n_tokens=60_000, auxk_alpha=0.0, lr=3e-3).model_copy(update={"dictionary": relu})
        dictionary = train(source(), cfg, tmp_path / name, inputs={})
        shares[name] = float((dictionary.encode(source().sample(10_000)) > 0).any(0)[:48].float().mean())
        if when:
            dying = Dying(MIXTURE, batch_size=1000)
            dying.dies_at = 33
            with pytest.raises(Killed):
                train(dying, cfg, tmp_path / "again", inputs={})
            train(source(), cfg, tmp_path / "again", inputs={})
            name = "sae_weights.safetensors"
            assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "with" / name).read_bytes()
    assert shares["with"] > 0.9 and shares["without"] == 0


def test_latents_without_an_encoder_are_resampled_too(tmp_path, monkeypatch):
    from sparselex.training import train as module

    plain = module.new_dictionary

    def with_dead(*given):
        dictionary = plain(*given)
        dictionary.W_dec.data[1:48] = dictionary.W_dec.data[0]  # of equals, but for rounding, one is taken
        return dictionary

    monkeypatch.setattr(module, "new_dictionary", with_dead)
    shares = {}
    for when in ((0.3, 0.5), ()):
        pursuit = KINDS["matching_pursuit"].model_copy(update={"resample_shares": when})
        cfg = config(n_tokens=60_000, lr=3e-3).model_copy(update={"dictionary": pursuit})
        dictionary = train(source(), cfg, tmp_path / str(when), inputs={})
        shares[when] = float((dictionary.encode(source().sample(10_000)) > 0).any(0)[:48].float().mean())
    assert shares[0.3, 0.5] > 0.9 and shares[()] < 0.3


def step_of(dictionary, x, dead, progress=1.0):
    codes = dictionary.training_codes(x)
    return Step(dictionary, x, x, codes, decode_at(codes, dictionary.W_dec, dictionary.b_dec), dead, progress)


@pytest.mark.parametrize("with_leaves", [False, True])
@pytest.mark.parametrize("kind", ["batchtopk", "topk", "relu", "archetypal"])
def test_gradients_of_every_objective_equal_dense_float64_autograd(kind, with_leaves):
    generator = torch.Generator().manual_seed(0)
    dictionary = new_dictionary(KINDS[kind], generator).double()
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x, dead = source().sample(0)[:64].double(), torch.tensor([4, 9, 30, 31, 60])
    step = step_of(dictionary, x, dead)
    leaves = Leaves()
    select = {"select": leaves.select} if with_leaves else {}
    (reconstruction(step) + penalty(step) + auxk(step, alpha=0.5, k_aux=2, share=2, **select)).backward()
    by_autograd = dictionary.b_enc.grad.clone()
    leaves.add_gradients()
    assert torch.equal(by_autograd, dictionary.b_enc.grad) != with_leaves
    found = {name: p.grad.clone() for name, p in dictionary.named_parameters()}
    places = step.codes.dense().detach() != 0
    dictionary.zero_grad()

    W_enc, W_dec, b_enc, b_dec = dictionary.W_enc, dictionary.W_dec, dictionary.b_enc, dictionary.b_dec
    acts = torch.where(places, (x - b_dec) @ W_enc + b_enc, 0)
    x_hat = acts @ W_dec + b_dec
    loss = (x_hat - x).square().sum() / 64
    if kind == "relu":
        loss = loss + 2.0 * (acts * W_dec.norm(dim=-1)).sum() / 64
    pre = ((x - b_dec.detach()) @ W_enc + b_enc)[::2][:, dead]
    kept = pre.relu() * (pre >= pre.topk(2, dim=-1).values[:, -1:])
    loss = loss + 0.5 * ((x - x_hat)[::2].detach() - kept @ W_dec[dead]).square().sum() / 32
    loss.backward()
    for name, parameter in dictionary.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "revived"), [(1 / 32, True), (0.0, False)])
def test_auxk_revives_planted_dead_latents(alpha, revived, tmp_path, monkeypatch):
    from sparselex.training import train as module

    plain = module.new_dictionary

    def with_dead(*given):
        dictionary = plain(*given)
        dictionary.W_enc.data[:, :48] *= 0.02  # positive pre-activations, never among the largest
        return dictionary

    monkeypatch.setattr(module, "new_dictionary", with_dead)
    cfg = config(n_tokens=300_000, auxk_alpha=alpha, dead_after_tokens=5_000, lr=3e-3, k_aux=16)
    dictionary = train(source(), cfg, tmp_path / "d", inputs={})
    alive = (dictionary.encode(source().sample(10_000)) > 0).any(0)
    share = float(alive[:48].float().mean())
    assert share > 0.4 if revived else share < 0.05


def test_held_out_figures_are_those_of_the_finished_dictionary(tmp_path):
    """The last held-out line equals the folded dictionary's own figures on the same tokens."""
    held_out = source().sample(10_000) * 3
    batch = Batch(held_out, np.arange(len(held_out)))
    dictionary = train(source(), config(n_tokens=20_000, lr=3e-3), tmp_path / "d", inputs={}, validation=batch)
    lines = [json.loads(line) for line in (tmp_path / "d" / "log.jsonl").read_text().splitlines()]
    last = [line for line in lines if "validation_fvu" in line][-1]
    residual, spread = (dictionary(held_out) - held_out).square().sum(), (held_out - held_out.mean(0)).square().sum()
    assert last["n_tokens"] == 20_000 and last["validation_fvu"] == pytest.approx(float(residual / spread), rel=1e-3)
    assert last["validation_l0"] == pytest.approx(
        float((dictionary.encode(held_out) != 0).sum()) / len(held_out), rel=1e-2
    )


@pytest.mark.parametrize(("n_dead", "n_said"), [(47, 0), (50, 1)])
def test_mass_death_is_said_once(n_dead, n_said, tmp_path, monkeypatch, caplog):
    from sparselex.training import train as module

    plain = module.new_dictionary

    def with_dead(*given):
        dictionary = plain(*given)
        dictionary.b_enc.data[:n_dead] = -1e3
        return dictionary

    monkeypatch.setattr(module, "new_dictionary", with_dead)
    train(source(), config("relu", n_tokens=40_000, auxk_alpha=0.0, log_steps=1), tmp_path / "d", inputs={})
    said = [record.getMessage() for record in caplog.records if "are dead after" in record.getMessage()]
    assert len(said) == n_said and all("lower the learning rate" in text for text in said)


@pytest.mark.parametrize(("l1", "is_said"), [(1e7, True), (0.01, False)])
def test_a_dictionary_that_says_nothing_is_told_of(tmp_path, caplog, l1, is_said):
    """Its penalty was too much, as it may be where the mean is most of an activation."""
    chosen = config("relu", n_tokens=100_000, lr=1e-2, auxk_alpha=0.0)
    silenced = chosen.model_copy(update={"dictionary": chosen.dictionary.model_copy(update={"l1": l1})})
    held_out = source().next_batch()
    train(source(), silenced, tmp_path / "d", inputs={}, validation=held_out)
    assert is_said == any("Hardly a latent is active" in record.getMessage() for record in caplog.records)


class Killed(Exception):
    pass


class Dying(SparseMixture):
    """Dies at one batch, as a process does; what it had given out before is the same as ever."""

    dies_at = 10**9

    def next_batch(self):
        if self._batch == self.dies_at:
            raise Killed
        return super().next_batch()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dies_at"),
    [
        *(("batchtopk", n) for n in (0, 3, 9, 16, 24, 39)),
        ("archetypal", 3),
        ("archetypal", 24),
        ("matching_pursuit", 24),
    ],
)
def test_killed_at_any_step_and_run_again_it_ends_in_the_same_bytes(tmp_path, kind, dies_at):
    train(source(), config(kind), tmp_path / "whole", inputs={"a": "b"})
    dying = Dying(MIXTURE, batch_size=1000)
    dying.dies_at = dies_at
    with pytest.raises(Killed):
        train(dying, config(kind), tmp_path / "killed", inputs={"a": "b"})
    assert not (tmp_path / "killed").exists()
    train(source(), config(kind), tmp_path / "killed", inputs={"a": "b"})
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "killed") == whole and "log.jsonl" in whole


def test_a_finished_dictionary_is_not_trained_again(tmp_path):
    train(source(), config(), tmp_path / "d", inputs={"a": "b"})
    dead = Dying(MIXTURE, batch_size=1000)
    dead.dies_at = 0
    train(dead, config(), tmp_path / "d", inputs={"a": "b"})
    for change in ({"cfg": config(seed=1)}, {"inputs": {"a": "c"}}):
        with pytest.raises(Killed):
            train(dead, change.get("cfg", config()), tmp_path / "d", inputs=change.get("inputs", {"a": "b"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        {"lr": 1e-4},
        {"warmup_share": 0.5},
        {"decay_share": 0.0},
        {"clip": 1e-3},
        {"seed": 1},
        {"batch_size": 2000},
        {"calibration_batches": 1},
        {"auxk_alpha": 0.0},
        {"k_aux": 1},
        {"auxk_share": 1},
        {"dead_after_tokens": 2_000},
    ],
    ids=str,
)
def test_each_option_changes_something(tmp_path, option):
    base = {"dead_after_tokens": 1_000}
    plain = train(source(), config(**base), tmp_path / "a", inputs={})
    changed = train(source(), config(**base | option), tmp_path / "b", inputs={})
    assert not torch.equal(plain.W_enc, changed.W_enc)


def test_the_log_says_what_happened(tmp_path):
    train(source(), config(n_tokens=200_000), tmp_path / "d", inputs={})
    lines = [json.loads(line) for line in (tmp_path / "d" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"] and lines[-1]["fvu"] < lines[0]["fvu"]
    assert all(abs(line["l0"] - 3) < 1e-9 for line in lines)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_activations_stop_training_and_leave_the_checkpoint(tmp_path, bad):
    class Breaking(SparseMixture):
        def next_batch(self):
            batch = super().next_batch()
            if self._batch == 20:
                batch.x[7, 3] = bad
            return batch

    with pytest.raises(UserError, match="corpus position 19007"):
        train(Breaking(MIXTURE, batch_size=1000), config(), tmp_path / "d", inputs={})
    assert (tmp_path / ".d.partial" / "checkpoint" / "progress.json").exists()


def test_a_width_mismatch_is_named(tmp_path):
    wide = config().model_copy(update={"dictionary": BatchTopKConfig(d_in=33, d_sae=96, k=3)})
    with pytest.raises(UserError, match="set d_in to 32"):
        train(source(), wide, tmp_path / "d", inputs={})


def test_silence_counts_tokens():
    silence = Silence(4, dead_after_tokens=20)
    dictionary = new_dictionary(TopKConfig(d_in=4, d_sae=4, k=1))
    dictionary.W_enc.data, dictionary.W_dec.data = torch.eye(4), torch.eye(4)
    for _ in range(2):
        silence.update(dictionary.encode_sparse(torch.eye(4)[:2].repeat(5, 1)))
    assert silence.n_tokens.tolist() == [0, 0, 20, 20] and silence.dead.tolist() == [2, 3]


def test_learning_rate_shape():
    rates = [lr_factor(step, 100, warmup_steps=10, decay_share=0.2) for step in range(101)]
    assert rates[0] == 0.1 and rates[9] == rates[50] == rates[80] == 1 and rates[90] == 0.5 and rates[100] == 0
