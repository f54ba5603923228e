"""A latent that is held: what it does to a pass, what is then written, and what is read back."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.causal.edits import bound, clamp
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.pinned import Pin, Pinning, Sampling, Wrote
from sparselex.causal.where import since
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.load import load_model

HOOK = "blocks.0.hook_mlp_out"
PROMPT = "1, 2, 3, 4"
SEEDS = [5, 6]


def dictionary(seed: int = 1):
    return new_dictionary(TopKConfig(d_in=128, d_sae=256, k=8), torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def latents(model):
    return Latents.of(dictionary(), model, HOOK)


@pytest.fixture(scope="module")
def pinning(model, latents):
    def read(row):
        values = model.read(row, [HOOK])[HOOK][0].float()
        counted = torch.ones(1, row.shape[1], dtype=torch.bool)
        counted[:, 0] = False
        return values, counted

    return Pinning(model, latents, lambda text: model.tokens(text), read)


@pytest.fixture(scope="module")
def row(model):
    return model.tokens(PROMPT)


def test_it_has_that_activation_at_every_token(model, latents, row):
    """Of a dictionary whose other latents do not change with it: the value is then what is read back."""
    before = model.read(row, [HOOK])[HOOK][0]
    made = clamp(latents, 7, 3.0, since(1))
    after = model.run(row, edits=bound(made), read=[HOOK]).values[HOOK][0]
    acts = latents.activations(before, torch.full((len(before),), 7))
    wanted = before + (3.0 - acts)[:, None] * latents.dictionary.W_dec[7]
    torch.testing.assert_close(after[1:], wanted[1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[0], before[0])


def test_the_same_seed_writes_the_same_and_samples_do_not_hang_on_each_other(pinning, row):
    pin, other, how = Pin(7, 60.0), Pin(9, 60.0), Sampling(n_new=10)
    first = pinning.beside(row, pin, other, SEEDS, how)
    assert pinning.beside(row, pin, other, SEEDS, how) == first
    assert [one.seed for one in first] == SEEDS
    alone = pinning.beside(row, pin, other, SEEDS[1:], how)[0]
    assert alone.plain.tokens == first[1].plain.tokens and alone.pinned.tokens == first[1].pinned.tokens
    texts = {tuple(wrote.tokens) for one in first for wrote in (one.plain, one.pinned, one.other)}
    assert len(texts) == 6, "another chance and another latent write something else"


def test_what_is_written_is_what_generating_under_the_edit_gives(model, latents, pinning, row):
    (found,) = pinning.beside(row, Pin(7, 8.0), Pin(9, 4.0), [5], Sampling(n_new=10))
    for wrote, made in (
        (found.plain, ()),
        (found.pinned, clamp(latents, 7, 8.0, since(1))),
        (found.other, clamp(latents, 9, 4.0, since(1))),
    ):
        written = generate(model, row, 10, edits=made, temperature=1.0, seed=5)
        assert wrote.tokens == written[0, row.shape[1] :].tolist()
    (last,) = pinning.beside(row, Pin(7, 8.0), Pin(9, 4.0), [5], Sampling(n_new=10, at_last=True))
    made = clamp(latents, 7, 8.0, since(row.shape[1] - 1))
    written = generate(model, row, 10, edits=made, temperature=1.0, seed=5)
    assert last.pinned.tokens == written[0, row.shape[1] :].tolist() and last.plain == found.plain


def test_what_was_written_is_read_with_nothing_held(model, latents, pinning, row):
    (found,) = pinning.beside(row, Pin(7, 8.0), Pin(9, 8.0), [5], Sampling(n_new=10))
    whole = torch.cat([row, torch.tensor([found.pinned.tokens])], dim=1)
    n = row.shape[1]
    acts = latents.activations(model.read(whole, [HOOK])[HOOK][0].float(), torch.full((whole.shape[1],), 7))[n:]
    assert found.pinned.activations == pytest.approx(acts.tolist(), abs=1e-4)
    assert found.pinned.active_share == pytest.approx(float((acts > 0).float().mean()))
    loss = -model.run(whole).logits[0, n - 1 : -1].log_softmax(-1).gather(1, whole[0, n:, None])[:, 0]
    assert found.pinned.loss == pytest.approx(loss.tolist(), abs=1e-3)
    assert found.pinned.mean_loss > found.plain.mean_loss, "it would not write that by itself"


def test_another_latent_is_held_as_strongly(pinning, row):
    pin = Pin(7, 8.0)
    other, tuned = pinning.as_strong(row, pin, Pin(9, 1.0))
    wanted = pinning.divergence(row, pin)
    assert tuned.converged and tuned.divergence == pytest.approx(wanted, rel=0.1)
    assert pinning.divergence(row, other) == pytest.approx(tuned.divergence, rel=1e-4)
    several = pinning.divergences(row, 7, torch.tensor([0.0, 8.0]))
    assert several[1] == pytest.approx(wanted, rel=1e-4) and several[0] < several[1]
    assert pinning.divergence(row, pin, at_last=True) != pytest.approx(wanted, rel=1e-3)


def test_shares_of_a_text():
    wrote = Wrote([4, 5, 4, 6], [1.0, 2.0, 3.0, 4.0], None, [0.0, 0.5, 0.0, 2.0])
    assert (wrote.active_share, wrote.mean_loss, wrote.share_of({4, 9})) == (0.5, 2.5, 0.5)


def test_what_cannot_be_held_is_refused(model, pinning):
    with pytest.raises(UserError, match="no token at which a latent can be held"):
        pinning.divergence(model.tokens(PROMPT)[:, :1], Pin(7, 1.0))
    sites = Sites.parse({"hooks": ["blocks.0.hook_resid_pre"], "target": [HOOK]}, "here")
    across = Latents.of(dictionary(), model, sites)
    with pytest.raises(UserError, match="was to be pinned"):
        Pinning(model, across, pinning.row, lambda row: (row, row))
