"""How latents hang together, against slow, obvious versions: on random codes and on a real run."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sparselex.base.seeds import derive
from sparselex.features.directions import neighbours
from sparselex.features.examples import uniform
from sparselex.features.following import PLACES, base_shares, following, lower_share
from sparselex.features.sample import Sampled
from sparselex.features.together import LEAST_TOGETHER, active_in, coactive, neurons
from sparselex.recipes.run import Run


def codes_of(rng, n=900, d=40, signed=False):
    """Dense codes with a dead latent, a dense one, a twin of another and one that is on everywhere, and what was
    read."""
    acts = np.where(rng.random((n, d)) < rng.uniform(0.005, 0.3, d), rng.random((n, d)) + 0.1, 0).astype(np.float32)
    acts[:, 3], acts[:, 4], acts[:, 5] = 0, acts[:, 6], 1
    acts[:, 7] = np.where(rng.random(n) < 0.9, acts[:, 6] * 2, 0)
    x = rng.standard_normal((n, 12)).astype(np.float32) + acts[:, 8:20] * 3
    x[:, 11] = 2.5
    return acts * rng.choice([-1, 1], acts.shape).astype(np.float32) if signed else acts, x


def sample_of(acts, x, n_together=None) -> Sampled:
    """All of these tokens as a sample, of which pairs are counted on the first."""
    rows, latents = np.nonzero(acts)
    indptr = np.concatenate([[0], np.cumsum((acts != 0).sum(1))])
    positions, n = np.arange(len(acts)) * 3 + 1, len(acts) if n_together is None else n_together
    return Sampled(positions, indptr, latents.astype(np.int32), acts[rows, latents], n, x)


@pytest.mark.parametrize("signed", [False, True])
def test_coactivation_and_neurons_equal_dense_products(signed, monkeypatch):
    monkeypatch.setattr("sparselex.features.together._BLOCK", 300)
    acts, x = codes_of(np.random.default_rng(1), signed=signed)
    sampled, d = sample_of(acts, x), acts.shape[1]
    on = (acts != 0).astype(int)
    both, n_active, n = on.T @ on, on.sum(0), len(acts)
    assert np.array_equal(active_in(sampled, d), n_active)
    found, (read, chance) = coactive(sampled, d, 4), neurons(sampled, d, 3)
    for latent in range(d):
        scores = {}
        for other in range(d):
            a, b, ab = int(n_active[latent]), int(n_active[other]), int(both[latent, other])
            if other != latent and ab >= LEAST_TOGETHER and ab * n > a * b:
                scores[other] = (ab * n - a * b) / np.sqrt(a * (n - a) * b * (n - b))
        expected = sorted(scores, key=lambda other: (-scores[other], other))[:4]
        assert found.place[latent].tolist() == expected + [-1] * (4 - len(expected))
        assert found.value[latent, : len(expected)].tolist() == both[latent, expected].tolist()
        if n_active[latent] < LEAST_TOGETHER or acts[:, latent].std() == 0:
            assert (read.place[latent] == -1).all() and np.isnan(chance[latent])
            continue
        r = [0.0 if x[:, i].std() == 0 else np.corrcoef(acts[:, latent], x[:, i])[0, 1] for i in range(x.shape[1])]
        best = np.argsort(-np.abs(r), kind="stable")[:3]
        assert read.place[latent].tolist() == best.tolist()
        moved = np.roll(x[:, :-1], n // 2, axis=0)  # the last never varies
        by_hand = max(abs(np.corrcoef(acts[:, latent], column)[0, 1]) for column in moved.T)
        assert chance[latent] == pytest.approx(by_hand, abs=1e-5)
        np.testing.assert_allclose(read.value[latent], np.array(r)[best], atol=1e-5)
    assert found.place[4, 0] == 6 and found.place[6, :2].tolist() == [4, 7]


def test_pairs_are_counted_on_the_first_tokens_and_neurons_are_read_off_all():
    acts, x = codes_of(np.random.default_rng(3))
    n, d = len(acts) // 3, acts.shape[1]
    part, whole, first = sample_of(acts, x, n), sample_of(acts, x), sample_of(acts[:n], x[:n])
    assert active_in(part, d).tolist() == active_in(first, d).tolist()
    for one, other in zip(coactive(part, d, 4), coactive(first, d, 4), strict=True):
        assert one.tolist() == other.tolist()
    assert neurons(part, d, 3).best.value.tolist() == neurons(whole, d, 3).best.value.tolist()
    assert neurons(part, d, 3).best.value.tolist() != neurons(first, d, 3).best.value.tolist()


def slow_following(positions, corpus, base):
    """What `following` says of one column, counted by hand."""
    n = min(len(positions), PLACES)
    tokens, documents = np.asarray(corpus.tokens).reshape(-1), np.asarray(corpus.documents).reshape(-1)
    followers = []
    for number in range(n):
        p = positions[(2 * number + 1) * len(positions) // (2 * n)]
        if (p + 1) % corpus.n_ctx and documents[p] == documents[p + 1]:
            followers.append(int(tokens[p + 1]))
    scores = {}
    for token in set(followers):
        low = lower_share(np.array([followers.count(token)]), np.array([len(followers)]))[0]
        if followers.count(token) >= 5 and low > base[token]:
            scores[token] = low * np.log(low / base[token])
    best = sorted(scores, key=lambda token: (-scores[token], token))[:10]
    return [(token, followers.count(token), len(followers)) for token in best]


def test_a_real_run_says_what_is_counted_by_hand(small_workspace, small_index):
    index, corpus = small_index, small_index.corpus
    run = Run.open(small_workspace, "main")
    train = corpus.row_ranges["train"]
    inside = np.zeros_like(index.counted)
    inside[train.start * corpus.n_ctx : train.stop * corpus.n_ctx] = True
    counted = np.flatnonzero(index.counted & inside)
    drawn = counted[np.argsort(uniform(counted, derive(0, "sample")))]
    order, were_read = drawn[: index.manifest.notes["n_sampled"]], drawn[: index.manifest.notes["n_read"]]
    tokens = np.asarray(corpus.tokens).reshape(-1)
    base = np.maximum(np.bincount(tokens[counted], minlength=len(corpus.vocabulary)), 1) / len(counted)
    np.testing.assert_allclose(base, base_shares(index.counted, corpus))
    acts = np.zeros((len(inside), index.d_sae), dtype=np.float32)
    for latent in range(index.d_sae):
        positions, values = index.column(latent)
        acts[positions, latent] = values
    on, n = acts[order] != 0, len(order)
    rows = torch.from_numpy(np.asarray(corpus.tokens).astype(np.int64))
    x = run.model.read(rows, run.sites.hooks)[run.sites.hooks[0]].flatten(0, 1).numpy()[were_read]
    encoder = run.dictionary.encoder_rows()
    read_by = torch.nn.functional.cosine_similarity(encoder[:, None], encoder[None], dim=-1).fill_diagonal_(-2)
    seen = {"coactive": 0, "neurons": 0, "following": 0}
    for latent in range(index.d_sae):
        record = index.record(latent)
        for one in record.coactive:
            both, own, other = (on[:, latent] & on[:, one.latent]).sum(), on[:, latent].sum(), on[:, one.latent].sum()
            assert one.n_both == both and one.share == pytest.approx(both / own)
            assert one.lift == pytest.approx(both / n / (own / n * other / n)) and one.lift > 1
        for one in record.neurons:
            r = np.corrcoef(acts[were_read, latent], x[:, one.neuron])[0, 1]
            assert one.correlation == pytest.approx(r, abs=1e-4)
        positions = index.split_column(latent, "train")[0]
        expected = slow_following(positions, corpus, base)
        assert [(one.token, one.n, round(one.n / one.share)) for one in record.following] == expected
        for one in record.following:
            assert one.base == pytest.approx(base[one.token]) and one.lift == pytest.approx(one.share / one.base)
        values = torch.tensor([one.cosine for one in record.encoder_neighbours])
        torch.testing.assert_close(values, read_by[latent].topk(len(values)).values, atol=1e-5, rtol=0)
        seen = {name: count + len(getattr(record, name)) for name, count in seen.items()}
    assert min(seen.values()) > 50, seen


def test_what_follows_stays_in_the_row_and_in_the_document():
    tokens = np.tile(np.array([1, 2, 3, 4]), (40, 1))
    documents = np.tile(np.array([0, 0, 1, 1]), (40, 1))
    places = [np.arange(40) * 4 + column for column in range(4)]  # a latent for every column
    base = np.full(9, 0.1)
    found = following(np.arange(5) * 40, np.concatenate(places), np.full(4, 40), base, tokens, documents, 3)
    assert found.n_places.tolist() == [40, 0, 40, 0]
    assert found.tokens.tolist() == [[2, -1, -1], [-1] * 3, [4, -1, -1], [-1] * 3]
    assert found.times[:, 0].tolist() == [40, 0, 40, 0]
    # Four times are too few, and a share that chance gives is none; a rare token does not stand before a frequent one.
    tokens = np.array([[0, 1]] * 4 + [[0, 2]] * 30 + [[0, 3]] * 60 + [[0, 4]] * 6)
    documents = np.zeros((100, 2), dtype=int)
    base = np.array([0, 1e-4, 0.3, 0.05, 1e-3])
    found = following(np.array([0, 100]), np.arange(100) * 2, np.array([100]), base, tokens, documents, 3)
    assert found.tokens.tolist() == [[3, 4, -1]]


def test_neighbours_over_several_chunks_equal_the_dense_product(monkeypatch):
    monkeypatch.setattr("sparselex.features.directions._CHUNK", 7)
    W = torch.randn(33, 6)
    cosines = torch.nn.functional.cosine_similarity(W[:, None], W[None], dim=-1).fill_diagonal_(-2)
    near = neighbours(W, 10)
    torch.testing.assert_close(near.value, cosines.topk(10).values, atol=1e-5, rtol=0)
    assert torch.equal(near.places, cosines.topk(10).indices)
    assert neighbours(W[:1], 10).places.shape == (1, 0)


@pytest.mark.parametrize("n", [1, 4, 11])
def test_of_equal_cosines_the_lower_number_comes_first(n):
    assert neighbours(torch.eye(12), n).places.tolist() == [[o for o in range(12) if o != i][:n] for i in range(12)]
    rows = torch.eye(40)[[0, 3, 0, 5, 3, 0, 0, 3, 5, 0, 7, 8]]
    cosines = rows @ rows.T
    for latent, found in enumerate(neighbours(rows, n).places.tolist()):
        others = [other for other in range(12) if other != latent]
        assert found == sorted(others, key=lambda other: (-cosines[latent, other], other))[:n]


@pytest.mark.slow
def test_memory_of_many_directions_is_that_of_their_best():
    """Where freed blocks are kept, small results between large products once took 24 GB for 100,000 rows of 16."""
    code = (
        "import resource, torch; from sparselex.base.memory import keep_freed_memory; keep_freed_memory()\n"
        "from sparselex.features.directions import logit_effects, neighbours\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows, before = torch.randn(20_000, 16), peak()\n"
        "neighbours(rows, 10); logit_effects(rows, None, torch.randn(16, 20_000), 10); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 200e6, "two products of 128 rows are 20 MB, the results of each 6"
