"""What is at a site in texts, and what coordinates make of it, against slow sums."""

import numpy as np
import pytest
import torch

from sparselex.base.sites import Hook
from sparselex.dictionaries.controls.rows import random_rows
from sparselex.evaluate.probes.coded import Judged, Site, coordinates, latents_of, read_texts
from sparselex.evaluate.probes.records import LATENTS
from sparselex.lm.load import load_model

TEXTS = ["def f(x):", "They built the same thing together.", "x = 1"]
HOOK = Hook("blocks.0.hook_resid_post")


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def dictionary(model):
    return random_rows(torch.zeros(model.width(HOOK)), 64, 4, torch.Generator().manual_seed(0))


def alone(model, text):
    """What is at the site in one text, without the BOS that its row begins with."""
    tokens = model.tokens(text)
    n_before = tokens.shape[1] - len(model.tokenizer.encode_batch([text])[0])
    return model.read(tokens, [HOOK])[HOOK][0, n_before:].float()


def test_texts_that_are_read_together_are_what_each_is_alone(model, dictionary):
    site = read_texts(Judged(model, HOOK, dictionary), TEXTS, 2)
    for number, text in enumerate(TEXTS):
        there = alone(model, text)
        torch.testing.assert_close(site.values[site.owner == number], there, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(site.pooled()[number], there.double().mean(0), rtol=1e-4, atol=1e-4)


def test_values_that_a_dictionary_was_not_trained_on_are_left_out_and_counted(model, dictionary):
    whole = read_texts(Judged(model, HOOK, dictionary), TEXTS, 2)
    least = whole.values.norm(dim=-1).median()
    part = read_texts(Judged(model, HOOK, dictionary, within=lambda values: values.norm(dim=-1) > least), TEXTS, 2)
    assert part.n_left_out == len(whole.values) - len(part.values) > 0
    torch.testing.assert_close(part.values, whole.values[whole.values.norm(dim=-1) > least])


def test_activations_are_means_over_the_tokens_of_each_text(model, dictionary):
    site = read_texts(Judged(model, HOOK, dictionary), TEXTS, 2)
    found = latents_of(dictionary, site)
    acts = dictionary.encode(site.values).double().numpy()
    slow = np.stack([acts[site.owner.numpy() == number].mean(0) for number in range(3)])
    np.testing.assert_allclose(found.values.toarray(), slow, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.rates, (slow != 0).mean(0))


def test_random_directions_are_active_as_often_and_components_hold_everything():
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(400, 12, generator=draws)
    site = Site(x, torch.arange(400), 400)
    rows = random_rows(torch.zeros(12), 48, 3, draws)
    found = coordinates(site, {LATENTS: rows}, draws)
    assert np.isin(found["random"].rates.round(6), found[LATENTS].rates.round(6)).all()
    centred = x.double().numpy() - x.double().numpy().mean(0)
    for name in ("neurons", "pca"):
        np.testing.assert_allclose(found[name].values @ found[name].directions, centred, atol=1e-8)


def test_random_directions_have_numbers_where_nearly_all_tokens_lie_at_one_place():
    """As the first words of texts that begin alike do: no threshold parts these from each other."""
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(8, generator=chance).repeat(400, 1)
    x[:2] += torch.randn(2, 8, generator=chance)
    dictionary = random_rows(torch.zeros(8), 200, 8, chance)
    found = coordinates(Site(x, torch.arange(400), 400), {LATENTS: dictionary}, chance)["random"]
    assert np.isfinite(found.values.data).all() and found.values.nnz
