"""The finish: what the model loses is part of the loss, L0 stays, any interruption leaves no trace."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.shuffle import ShuffledSource
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, Sites
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.abstopk import AbsTopK, AbsTopKConfig
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.topk import TopK, TopKConfig
from sparselex.evaluate.rows import rows_to_judge
from sparselex.training.config import TrainConfig
from sparselex.training.influence import by_influence
from sparselex.training.objectives import attributed, unattributed
from sparselex.training.rows import LiveRows
from sparselex.training.step import Step
from sparselex.training.train import Job, train, train_many
from tests.support.contents import contents
from tests.support.small import small_run

ONE = Sites(hooks=(Hook("blocks.0.hook_resid_mid"),))
LAYERS = Sites(
    hooks=(Hook("blocks.0.hook_resid_pre"), Hook("blocks.0.hook_mlp_in")),
    target=(Hook("blocks.0.hook_attn_out"), Hook("blocks.0.hook_mlp_out")),
)
BATCH = 512
KINDS = {
    "batchtopk": {"k": 8},
    "topk": {"k": 8},
    "relu": {"l1": 2.0},
    "jumprelu": {"target_l0": 8},
    "gated": {"l1": 3.0},
    "matryoshka": {"k": 8},
    "panneal": {"l1": 1.0},
    "abstopk": {"k": 8},
    "matching_pursuit": {"k": 8},
    "archetypal": {"k": 8, "n_points": 128},
    "clt": {"k": 8, "d_in": 256, "d_out": 256, "layers_in": (128, 128), "layers_out": (128, 128)},
}


CHOOSING = {"topk": TopKConfig, "batchtopk": BatchTopKConfig}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("finish"))


def config(kind="batchtopk", n_tokens=8_000, dictionary=None, **options):
    values = {"kind": kind, "d_in": 128, "d_sae": 256, **KINDS[kind], **(dictionary or {})}
    own = {"batch_size": BATCH, "finish": "kl", "finish_share": 0.3, "log_steps": 1, "checkpoint_tokens": 3_000}
    return TrainConfig.parse({"dictionary": values, "n_tokens": n_tokens, **own, **options})


class Killed(Exception):
    pass


class Rows(LiveRows):
    """Dies at one batch, as a process does."""

    dies_at, n_read = 10**9, 0

    def next_batch(self):
        if self.n_read == self.dies_at:
            raise Killed
        self.n_read += 1
        return super().next_batch()


class Stream(ShuffledSource):
    """Likewise."""

    dies_at, n_read = 10**9, 0

    def next_batch(self):
        if self.n_read == self.dies_at:
            raise Killed
        self.n_read += 1
        return super().next_batch()


def streams(run, sites=ONE):
    reader = Reader(run.model, run.corpus, sites)
    source = Stream(LiveUnits(reader, ["train"]), batch_size=BATCH, block_tokens=8_000, seed=0)
    return source, Rows(reader, batch_size=BATCH, seed=0)


def trained(run, chosen, to, sites=ONE, dies=(10**9, 10**9), **options):
    source, live = streams(run, sites)
    source.dies_at, live.dies_at = dies
    return train(source, chosen, to, inputs={}, live=live, **options)


def lines(folder: Path, name: str):
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in found if name in line]


def lost(run, dictionary, sites=ONE):
    """Mean divergence of the predictions on test rows, with the dictionary in the place of its site."""
    reader = Reader(run.model, run.corpus, sites)
    live = LiveRows(reader, batch_size=BATCH, seed=0)
    batch, rows, n = live.read(rows_to_judge(run.corpus, 30))
    return float(rows.divergence(reader.written, dictionary(batch.x).detach())) / n


def test_it_lowers_what_the_model_loses_and_keeps_l0(run, tmp_path):
    found = {}
    for finish in ("nothing", "kl"):
        chosen = config(n_tokens=60_000, finish=finish)
        found[finish] = lost(run, trained(run, chosen, tmp_path / finish))
    assert found["kl"] < 0.95 * found["nothing"]
    assert lines(tmp_path / "kl", "l0") == pytest.approx(lines(tmp_path / "nothing", "l0"), rel=0.05)
    kl = lines(tmp_path / "kl", "kl")
    notes = json.loads((tmp_path / "kl" / "manifest.json").read_text())["notes"]
    assert notes["finish"]["n_steps"] == len(kl) and np.mean(kl[-5:]) < 0.8 * np.mean(kl[:5])
    assert 18_000 <= notes["finish"]["n_tokens"] < 18_000 + 3 * BATCH and notes["n_tokens"] < 60_000 + 3 * BATCH


@pytest.mark.parametrize("finish", ["e2e", "downstream"])
def test_without_reconstruction_the_model_loses_less_and_l0_stays(run, tmp_path, finish):
    found = {}
    for one in ("nothing", finish):
        chosen = config(n_tokens=60_000, finish=one, finish_share=0.7, lr=1e-3)
        found[one] = lost(run, trained(run, chosen, tmp_path / one))
    assert found[finish] < 0.9 * found["nothing"]
    assert lines(tmp_path / finish, "l0")[-1] == pytest.approx(8, rel=0.02)
    shown = lines(tmp_path / finish, "downstream")
    assert bool(shown) == (finish == "downstream") and not lines(tmp_path / finish, "kl_weight")
    if shown:
        assert np.mean(shown[-5:]) < np.mean(shown[:5])


def test_attributions_become_fewer_and_smaller_and_l0_stays(run, tmp_path):
    """Of latents and of the error, by the gradient of the loss; what is reconstructed stays near what it was."""
    chosen = config(n_tokens=60_000, finish="attribution", finish_share=0.5, lr=1e-3)
    trained(run, chosen, tmp_path / "d")
    for name in ("attributed", "unattributed"):
        shown = lines(tmp_path / "d", name)
        assert np.mean(shown[-5:]) < 0.95 * np.mean(shown[:5]) and min(shown) > 0
    assert lines(tmp_path / "d", "l0")[-1] == pytest.approx(8, rel=0.02)
    assert not lines(tmp_path / "d", "kl")


@pytest.mark.parametrize("signed", [False, True])
def test_attributions_and_their_gradients_are_those_of_a_slow_version(signed):
    n, d, d_sae = 7, 5, 11
    rng = torch.Generator().manual_seed(0)
    made = AbsTopK(AbsTopKConfig(d_in=d, d_sae=d_sae, k=3)) if signed else TopK(TopKConfig(d_in=d, d_sae=d_sae, k=3))
    for name, shape in (("W_enc", (d, d_sae)), ("W_dec", (d_sae, d))):
        getattr(made, name).data = torch.randn(shape, generator=rng)
    dictionary = made.double().requires_grad_()
    x, gradient = (torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(2))
    codes = dictionary.training_codes(x)
    x_hat = dictionary.training_decode(codes)
    step = Step(dictionary, x, x, codes, x_hat, torch.zeros(0, dtype=torch.long), 0.5)
    (attributed(step, gradient) + unattributed(step, gradient)).backward()
    found = dictionary.W_dec.grad.clone()
    W_dec = dictionary.W_dec.detach().clone().requires_grad_()
    dense = codes.dense().detach()
    each = (dense * (gradient @ W_dec.T)).abs().sum() / n
    error = ((x - (dense @ W_dec + dictionary.b_dec.detach())) * gradient).sum(-1).abs().sum() / n
    (each + error).backward()
    assert float(each.detach()) == pytest.approx(float(attributed(step, gradient).detach()))
    torch.testing.assert_close(found, W_dec.grad)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_latents_are_chosen_by_influence_as_a_slow_version_does(kind, monkeypatch):
    """Token by token, entry by entry; in parts of a few tokens as at once; values are the dictionary's own."""
    n, d, d_sae, k = 9, 5, 12, 3
    rng = torch.Generator().manual_seed(1)
    dictionary = new_dictionary(CHOOSING[kind](d_in=d, d_sae=d_sae, k=k))
    for name, shape in (("W_enc", (d, d_sae)), ("W_dec", (d_sae, d)), ("b_dec", (d,))):
        getattr(dictionary, name).data = torch.randn(shape, generator=rng)
    dictionary = dictionary.double()
    x, gradient = (torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(2))
    plain = dictionary.training_codes(x)
    norms = dictionary.W_dec.norm(dim=1).detach()
    pre = ((x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc).detach()
    along = (gradient @ (dictionary.W_dec / norms[:, None]).T).abs().detach()
    typical = along[plain.dense() != 0].mean()
    compared = pre * norms * (1 + along / typical)
    places = [(token, latent) for token in range(n) for latent in range(d_sae) if pre[token, latent] > 0]
    places.sort(key=lambda place: -compared[place])
    if kind == "topk":
        kept = [place for token in range(n) for place in [one for one in places if one[0] == token][:k]]
    else:
        kept = places[: len(plain.indices)]
    whole = torch.zeros(n, d_sae, dtype=torch.float64)
    for place in kept:
        whole[place] = pre[place]
    for at_once in (1 << 24, 2 * d_sae):
        monkeypatch.setattr("sparselex.training.influence._AT_ONCE", at_once)
        found = by_influence(dictionary, x, plain, gradient)
        torch.testing.assert_close(found.dense().detach(), whole)
    assert not torch.equal(found.dense() != 0, plain.dense() != 0)
    (found.values.sum()).backward()
    slow = dictionary.W_enc.grad.clone()
    dictionary.W_enc.grad = None
    (((x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc) * (whole != 0)).sum().backward()
    torch.testing.assert_close(slow, dictionary.W_enc.grad)


def test_without_a_gradient_influence_chooses_as_ever():
    dictionary = new_dictionary(TopKConfig(d_in=6, d_sae=16, k=2), torch.Generator().manual_seed(0))
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    plain = dictionary.training_codes(x)
    found = by_influence(dictionary, x, plain, torch.zeros_like(x))
    torch.testing.assert_close(found.dense(), plain.dense())


def test_chosen_by_influence_l0_stays_and_other_latents_are_taken(run, tmp_path):
    chosen = config(n_tokens=30_000, finish="influence", finish_share=0.5)
    trained(run, chosen, tmp_path / "d")
    changed = lines(tmp_path / "d", "chosen_otherwise")
    assert len(changed) > 10 and min(changed) > 0.02 and max(changed) < 0.7
    assert lines(tmp_path / "d", "l0")[-1] == pytest.approx(8, rel=0.02)


def test_what_chooses_no_latents_has_no_influence_to_choose_by():
    with pytest.raises(UserError, match=r"relu has none that it knows: take one of batchtopk, topk"):
        config("relu", finish="influence")


def test_the_error_of_streams_needs_a_stream_behind_the_site(run, tmp_path):
    last = Sites(hooks=(Hook("blocks.0.hook_resid_post"),))
    with pytest.raises(UserError, match=r"No residual stream of .* lies behind(?s:.*)or train without a finish"):
        trained(run, config(finish="downstream"), tmp_path / "d", last)
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_keeps_its_l0(run, tmp_path, kind):
    """As it is at the same tokens without the finish."""
    sites = LAYERS if kind == "clt" else ONE
    for finish in ("nothing", "kl"):
        chosen = config(kind, n_tokens=60_000, finish=finish, finish_share=0.1)
        trained(run, chosen, tmp_path / finish, sites)
    without, with_it = (np.mean(lines(tmp_path / finish, "l0")[-5:]) for finish in ("nothing", "kl"))
    assert with_it == pytest.approx(without, rel=0.05)
    kl = lines(tmp_path / "kl", "kl")
    assert kl[-1] < kl[0]


@pytest.mark.parametrize("dies", [(5, 9), (99, 0), (99, 1), (99, 3)], ids=["before", "at its start", "first", "within"])
@pytest.mark.parametrize(
    ("kind", "finish"), [("batchtopk", "kl"), ("relu", "attribution"), ("relu", "downstream"), ("topk", "influence")]
)
def test_killed_and_run_again_it_ends_in_the_same_bytes(run, tmp_path, kind, finish, dies):
    chosen = config(kind, checkpoint_tokens=600, finish=finish)
    trained(run, chosen, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(run, chosen, tmp_path / "killed", dies=dies)
    assert not (tmp_path / "killed").exists()
    trained(run, chosen, tmp_path / "killed")
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "killed") == whole and "log.jsonl" in whole


def test_many_are_finished_on_the_same_rows_each_as_if_alone(run, tmp_path):
    """Rows are read once for all; one that is through before the others, and one without a finish, do not disturb."""
    members = {
        "one": config(),
        "seed": config(seed=1),
        "short": config(n_tokens=5_000),
        "relu": config("relu"),
        "none": config("topk", finish="nothing"),
    }
    source, live = streams(run)
    train_many(source, [Job(chosen, tmp_path / name, {}) for name, chosen in members.items()], live=live)
    assert live.n_read == len(lines(tmp_path / "one", "kl"))
    for name in ("seed", "short", "relu"):
        trained(run, members[name], tmp_path / "alone" / name)
        assert contents(tmp_path / "alone" / name) == contents(tmp_path / name)
    assert not lines(tmp_path / "none", "kl")


@pytest.mark.parametrize(
    "dictionary", [{"token_norm": "layer"}, {"d_out": 128, "skip": True}, {"parts": (128, 128), "d_in": 256}], ids=str
)
def test_the_divergence_is_that_of_the_finished_dictionary(run, tmp_path, dictionary):
    """With a learning rate of nearly nothing in the finish, what is logged there is what the folded weights lose."""
    sites = ONE
    if "d_out" in dictionary:
        sites = Sites(hooks=LAYERS.hooks[1:], target=LAYERS.target[1:])
    if "parts" in dictionary:
        sites = Sites(hooks=LAYERS.hooks[:1] + ONE.hooks)
    chosen = config("topk", 20_000, dictionary, finish_share=0.02)
    dictionary = trained(run, chosen, tmp_path / "d", sites)
    _, live = streams(run, sites)
    live.load_state(live.start)
    batch, rows, _, n = LiveRows.next_batch(live)
    alone = sum(float(part) for part in _divergences(rows, live.places, load_dictionary(tmp_path / "d")(batch.x))) / n
    assert lines(tmp_path / "d", "kl")[0] == pytest.approx(alone, rel=0.1)


def _divergences(rows, places, x_hat):
    start = 0
    for part in rows:
        n = int(part.counted.sum())
        yield part.divergence(places, x_hat[start : start + n])
        start += n


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match="finish_share"):
        config(finish_share=share)


def test_what_cannot_be_finished_is_refused_before_anything_is_made(run, tmp_path):
    source = streams(run)[0]
    with pytest.raises(UserError, match="only activations were given"):
        train(source, config(), tmp_path / "d", inputs={})
    other = streams(run, Sites(hooks=(Hook("blocks.0.mlp.hook_post"),)))[1]
    with pytest.raises(UserError, match="The finish reads widths 512 and None"):
        train(source, config(), tmp_path / "d", inputs={}, live=other)
    assert not list(tmp_path.iterdir())
