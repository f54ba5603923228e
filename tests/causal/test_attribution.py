"""Attribution is what ablation takes away, where the model is linear; integrated gradients are exact in their sum."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.causal.attribution import attributions
from sparselex.causal.edits import ablate, bound
from sparselex.causal.latents import Latents
from sparselex.causal.where import at
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from tests.lm.small_models import build

TOKENS = torch.randint(3, 50, (2, 6), generator=torch.Generator().manual_seed(0))
LAST = "blocks.1.hook_resid_post"


def latents_at(model, hook):
    dictionary = new_dictionary(TopKConfig(d_in=24, d_sae=48, k=4), torch.Generator().manual_seed(1))
    return Latents.of(dictionary, model, hook)


def difference(logits):
    """A difference of two logits at the last token, summed over rows."""
    return (logits[:, -1, 7] - logits[:, -1, 9]).sum()


def by_ablation(model, latents, hook):
    """What each active latent's exact ablation at each token takes away."""
    kept, found = model.keep(TOKENS, hook), {}
    codes = latents.dictionary.encode_sparse(kept.values.flatten(0, 1))
    plain = difference(model.run(TOKENS).logits)
    for row, latent in zip(codes.rows.tolist(), codes.indices.tolist(), strict=True):
        place = torch.full((2,), -1).scatter(0, torch.tensor([row // 6]), row % 6)
        there = difference(model.run(TOKENS, edits=bound(ablate(latents, latent, at(place)))).logits)
        found[row, latent] = float(plain - there)
    return found


def as_dict(codes):
    return dict(zip(zip(codes.rows.tolist(), codes.indices.tolist(), strict=True), codes.values.tolist(), strict=True))


@pytest.fixture
def linear():
    """A model in which all that follows the last block is linear: its final norm is taken out."""
    model = build("gpt2")
    model.hf.transformer.ln_f = torch.nn.Identity()
    return model


def test_it_is_ablation_where_the_model_is_linear(linear):
    latents = latents_at(linear, LAST)
    for steps in (0, 3):
        found = attributions(linear, linear.keep(TOKENS, LAST), latents, difference, steps=steps)
        expected = by_ablation(linear, latents, LAST)
        assert as_dict(found).keys() == expected.keys()
        assert as_dict(found) == pytest.approx(expected, abs=1e-4)


def test_integrated_gradients_add_up():
    """To what all latents together do; and one gradient does not, in a model with a nonlinearity to cross."""
    model = build("llama")
    hook = "blocks.0.hook_resid_post"
    latents = latents_at(model, hook)
    kept = model.keep(TOKENS, hook)
    codes = latents.dictionary.encode_sparse(kept.values.flatten(0, 1))
    of_all = (codes.dense() @ latents.dictionary.W_dec).view_as(kept.values).detach()
    without = model.run(TOKENS, edits={hook: lambda x: x - of_all}).logits
    whole = difference(model.run(TOKENS).logits) - difference(without)
    found = {steps: attributions(model, kept, latents, difference, steps=steps) for steps in (0, 64)}
    sums = {steps: float(codes.values.sum()) for steps, codes in found.items()}
    assert sums[64] == pytest.approx(float(whole), rel=1e-3)
    assert abs(sums[0] - float(whole)) > 10 * abs(sums[64] - float(whole))


def test_what_is_no_attribution_is_refused():
    model = build("llama")
    latents = latents_at(model, LAST)
    with pytest.raises(UserError, match="A pass kept at"):
        attributions(model, model.keep(TOKENS, "blocks.0.hook_resid_pre"), latents, difference)
    for metric in (lambda logits: logits[:, -1, 0], lambda logits: torch.tensor(1.0)):
        with pytest.raises(UserError, match="The metric gave the shape"):
            attributions(model, model.keep(TOKENS, LAST), latents, metric)


def test_only_counted_tokens_have_any():
    model = build("llama")
    latents = latents_at(model, LAST)
    counted = torch.zeros(2, 6, dtype=torch.bool)
    counted[0, 5] = True
    found = attributions(model, model.keep(TOKENS, LAST), latents, difference, counted=counted)
    assert set(found.rows.tolist()) == {5} and float(found.values.abs().min()) > 0
