"""The output metric: its sums against slow ones, its nulls at what they must be, what was planted, and the divergence
that it stands for."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.dictionaries.controls.rows import covariance_matched_rows
from sparselex.evaluate.model_features.gradients import _gradient, gradients
from sparselex.evaluate.model_features.relevance import OutputMetric, in_span
from tests.support.tiny import N_VOCAB, tiny_llama

D, N, GROUPS = 12, 400, 5


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def metric():
    """Gradients in a space of four dimensions, of activations that vary in all twelve."""
    mixing = torch.randn(4, D, generator=chance(1))
    g = torch.randn(N, 4, generator=chance(2)) @ mixing
    x = torch.randn(N, D, generator=chance(3)) @ torch.diag(torch.linspace(0.5, 3, D))
    read, unread = normalize(mixing, dim=-1), torch.linalg.svd(mixing, full_matrices=True)[2][4:]
    directions = {"read": read, "unread": unread, "any": normalize(torch.randn(30, D, generator=chance(4)), dim=-1)}
    found = OutputMetric(directions, torch.cov(x.double().T), GROUPS)
    groups = torch.randint(GROUPS, (N,), generator=chance(5))
    for part in range(0, N, 128):
        found.add(g[part : part + 128], groups[part : part + 128])
    return found, g.double(), torch.cov(x.double().T), groups


def test_relevance_is_what_a_slow_version_of_its_formula_gives(metric):
    found, g, covariance, groups = metric
    for name, rows in found.directions.items():
        for kept, given in [
            (torch.ones(N, dtype=torch.bool), found.relevance(name)),
            *((groups != group, found.without(name)[group]) for group in range(GROUPS)),
        ]:
            gram = sum(torch.outer(one, one) for one in g[kept]) / int(kept.sum())
            expected = [u @ gram @ u * covariance.trace() / (gram @ covariance).trace() for u in rows.double()]
            np.testing.assert_allclose(given, torch.stack(expected), rtol=1e-4, atol=1e-9)
    assert found.n_tokens.sum() == N


def test_what_is_read_and_what_is_not_are_told_apart(metric):
    found, *_ = metric
    assert found.relevance("read").min() > 0.3 and found.relevance("unread").max() < 1e-9
    span = found.read_span(0.999999)
    assert span.shape == (D, 4)
    assert (
        in_span(found.directions["read"], span).min() > 0.9999
        and in_span(found.directions["unread"], span).max() < 1e-4
    )
    assert found.read_span(0.5).shape[1] < 4


def test_nulls_come_out_at_what_they_must_be():
    """Directions drawn as activations vary are as relevant as these, and as much of them lies in what is read."""
    g = torch.randn(500, 3, generator=chance(1)) @ torch.randn(3, 40, generator=chance(2))
    for scale in (torch.ones(40), torch.linspace(0.2, 2, 40)):
        covariance = torch.diag(scale.square())
        drawn = covariance_matched_rows(torch.zeros(40), covariance, 20_000, 1, chance(3), n_steps=1).directions()
        found = OutputMetric({"drawn": normalize(drawn, dim=-1)}, covariance, 1)
        found.add(g, torch.zeros(500, dtype=torch.long))
        assert found.relevance("drawn").mean() == pytest.approx(1, abs=0.03)
        span = found.read_span(0.999999)
        assert in_span(found.directions["drawn"], span).mean() == pytest.approx(found.span_null(span), abs=0.01)
    assert OutputMetric({}, torch.eye(40), 1).span_null(span) == pytest.approx(3 / 40)


class Rows:
    """Rows of one document each, all of them text."""

    n_ctx = 6

    def __init__(self, tokens):
        self.tokens = tokens
        self.documents = np.repeat(np.arange(len(tokens))[:, None], self.n_ctx, axis=1).astype(np.int32)


class WholeRows(Reader):
    """Rows of which every token counts."""

    def __init__(self, tokens):
        self.corpus = Rows(tokens)

    def values(self, rows):
        return rows

    def keeps(self, batch):
        return np.ones(len(batch) * self.corpus.n_ctx, dtype=bool)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny"), 2, 0.4)


HOOK = Hook("blocks.0.hook_resid_post")


def test_products_of_gradients_are_twice_the_divergence_of_small_changes(model):
    """Over many draws of what the model predicts: of one token and of all predictions that it has a part in."""
    tokens = torch.randint(1, N_VOCAB, (1, Rows.n_ctx), generator=chance(0)).numpy()
    draws = 1500
    found = torch.cat(
        [g for g, _ in gradients(model, WholeRows(tokens.repeat(draws, 0)), HOOK, np.arange(draws), 0, 250)]
    )
    g = found.view(draws, Rows.n_ctx, -1).double()
    plain = model.run(torch.from_numpy(tokens)).logits[0, :-1].double().log_softmax(-1)
    for place in (0, 3):
        u = normalize(torch.randn(16, generator=chance(place)), dim=0)
        gram = float((g[:, place] @ u.double()).square().mean())

        def moved(x, place=place, u=u):
            new = x.clone()
            new[:, place] += 1e-2 * u
            return new

        other = model.run(torch.from_numpy(tokens), edits={HOOK: moved}).logits[0, :-1].double().log_softmax(-1)
        kl = float((plain.exp() * (plain - other)).sum())
        assert gram == pytest.approx(2 * kl / 1e-4, rel=0.15)


def test_gradients_do_not_hang_on_how_many_rows_are_taken_at_once(model):
    tokens = torch.randint(1, N_VOCAB, (5, Rows.n_ctx), generator=chance(1)).numpy()
    one, many = (
        [(g, owners) for g, owners in gradients(model, WholeRows(tokens), HOOK, np.arange(5), 3, n)] for n in (1, 4)
    )
    torch.testing.assert_close(torch.cat([g for g, _ in one]), torch.cat([g for g, _ in many]), rtol=1e-3, atol=1e-5)
    assert np.concatenate([owners for _, owners in one]).tolist() == np.repeat(np.arange(5), Rows.n_ctx).tolist()


def test_a_model_without_gradients_and_a_site_that_nothing_reads_are_told(model):
    there, elsewhere = torch.ones(1, 2, 16, requires_grad=True), torch.ones(1, requires_grad=True)
    with pytest.raises(UserError, match=r"has no gradient at blocks\.0(?s:.*)load it unquantised"):
        _gradient(there.detach().sum(), there, model, HOOK)
    with pytest.raises(UserError, match=r"Nothing behind blocks\.0\.hook_resid_post reads it"):
        _gradient(elsewhere.sum(), there, model, HOOK)
