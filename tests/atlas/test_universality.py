"""Universality: a run is itself, a shuffled one is at chance, what is planted is found, and judged on other text than
it was chosen on."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sparselex.atlas.universality.attribution import LogitWeights, Side, attributed
from sparselex.atlas.universality.config import UniversalityConfig
from sparselex.atlas.universality.figures import Measured, universality_figures
from sparselex.atlas.universality.latents import Columns, match_latents
from sparselex.atlas.universality.neurons import Activity, match_neurons
from sparselex.atlas.universality.pairs import between
from sparselex.atlas.universality.records import Universal
from sparselex.atlas.universality.walk import SAME_MODEL, Looked, universality
from sparselex.base.sites import Hook, Sites
from sparselex.features.index import FeatureIndex
from sparselex.features.stream import Written
from sparselex.recipes.run import Run

N_TOKENS, N_GROUPS = 3000, 10
GROUPS = np.arange(N_TOKENS) * N_GROUPS // N_TOKENS


def activity(n_latents=30, n_tokens=N_TOKENS, share=0.03, seed=0):
    """`[n_latents, n_tokens]`, each latent active at random."""
    rng = np.random.default_rng(seed)
    return ((rng.random((n_latents, n_tokens)) < share) * rng.uniform(0.5, 3, (n_latents, n_tokens))).astype(np.float32)


def sides(chosen, judged, least=10):
    return Columns.of(csr_array(chosen), csr_array(judged), least)


def matched(a, b, **options):
    return match_latents(a, b, GROUPS, N_GROUPS, np.random.default_rng(0), **options)


def test_correlations_are_those_of_numpy_and_without_a_group_those_of_the_rest():
    left, right = activity(8), activity(12, seed=1)
    right[3] = left[2] * 0.5
    partner = np.array([0, 5, 3, 7, -1, 2, 2, 11])
    found = between(csr_array(left), csr_array(right), partner, GROUPS, N_GROUPS)
    for latent, other in enumerate(partner):
        if other < 0:
            assert found.value[latent] == 0
            continue
        assert found.value[latent] == pytest.approx(np.corrcoef(left[latent], right[other])[0, 1], abs=1e-6)
        for group in (0, 7):
            rest = group != GROUPS
            without = np.corrcoef(left[latent, rest], right[other, rest])[0, 1]
            assert found.without[group, latent] == pytest.approx(without, abs=1e-6)
    assert found.value[2] == pytest.approx(1)


def test_what_does_not_vary_is_like_nothing():
    left, right = activity(3), activity(3, seed=1)
    right[1], left[2] = 1.0, 0.0
    found = between(csr_array(left), csr_array(right), np.arange(3), GROUPS, N_GROUPS)
    assert found.value[1] == 0 and np.isnan(found.value[2])


def test_a_run_is_itself_in_whatever_order_its_latents_stand():
    chosen, judged, order = activity(), activity(seed=1), np.random.default_rng(2).permutation(30)
    found = matched(sides(chosen, judged), sides(chosen[order], judged[order]))
    assert np.array_equal(order[found.found.match], np.arange(30)) and found.mutual.all()
    np.testing.assert_allclose(found.found.judged.value, 1)
    np.testing.assert_allclose(found.found.judged.without, 1)
    assert found.null.judged.value.max() < 0.2, "shifted, it is not"


def test_shuffled_over_tokens_a_run_is_at_chance():
    """On the tokens on which they were chosen the nearest look alike; on others they are as the null has it."""
    rng = np.random.default_rng(3)
    chosen, judged = activity(), activity(seed=1)
    shuffled = (one[:, rng.permutation(N_TOKENS)] for one in (chosen, judged))
    found = matched(sides(chosen, judged), sides(*shuffled))
    assert abs(np.median(found.found.judged.value) - np.median(found.null.judged.value)) < 0.02
    assert np.median(found.found.chosen) > 0.03 > abs(np.median(found.found.judged.value))


def test_what_chooses_does_not_judge():
    chosen, judged = activity(), activity(seed=1)
    other, there = activity(seed=5), activity(seed=6)
    other[4] = chosen[7]
    found = matched(sides(chosen, judged), sides(other, there)).found
    assert found.match[7] == 4 and found.chosen[7] == pytest.approx(1) and found.judged.value[7] < 0.2


def test_opposite_signs_are_alike_where_codes_have_signs():
    chosen, judged = activity(), activity(seed=1)
    same = matched(sides(chosen, judged), sides(-chosen, -judged), signed=True).found
    apart = matched(sides(chosen, judged), sides(-chosen, -judged)).found
    np.testing.assert_allclose(same.judged.value, 1)
    assert np.median(apart.judged.value) < 0.1


def test_rare_latents_are_left_out():
    chosen, judged = activity(), activity(seed=1)
    judged[0] = 0
    assert sides(chosen, judged).kept.tolist() == list(range(1, 30))


def dense(n, seed, mix=None):
    """`[N_TOKENS, n]`, what neurons are."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((N_TOKENS, n)), 0).astype(np.float32)


def batched(a, b, size=450):
    return [Activity(a[at : at + size], b[at : at + size]) for at in range(0, len(a), size)]


@pytest.mark.parametrize("sign", [1, -1])
def test_neurons_and_latents_are_matched_as_numpy_would(sign):
    """Noisy copies in another order; where values are negative, the opposite ones too."""
    order, noise = np.random.default_rng(9).permutation(16), 0.5
    a = [dense(16, seed) for seed in (0, 1)]
    b = [sign * one[:, order] + noise * dense(16, seed) for seed, one in zip((2, 3), a, strict=True)]
    latents = [activity(20, seed=seed) for seed in (4, 5)]
    for latent, one in zip(latents, a, strict=True):
        latent[6] = np.where(one[:, 3] > 1, one[:, 3], 0)  # a latent that is a neuron where that is large
    columns = sides(*latents)
    found = match_neurons(batched(a[0], b[0]), batched(a[1], b[1]), columns, columns, (16, 16), GROUPS, N_GROUPS)
    assert np.array_equal(order[found.neurons.match], np.arange(16))
    for neuron, match in enumerate(found.neurons.match):
        r = sign * np.corrcoef(a[1][:, neuron], b[1][:, match])[0, 1]
        assert found.neurons.judged.value[neuron] == pytest.approx(r, abs=1e-4)
        rest = GROUPS != 2
        without = sign * np.corrcoef(a[1][rest, neuron], b[1][rest, match])[0, 1]
        assert found.neurons.judged.without[2, neuron] == pytest.approx(without, abs=1e-4)
    assert np.abs(found.neurons_null.judged.value).max() < 0.1
    assert found.to_latents.match[3] == 6 and order[found.of_latents.match[6]] == 3
    of_latent = sign * np.corrcoef(latents[1][6], b[1][:, found.of_latents.match[6]])[0, 1]
    assert found.of_latents.judged.value[6] == pytest.approx(of_latent, abs=1e-4)
    assert found.to_latents.judged.value[3] == pytest.approx(np.corrcoef(latents[1][6], a[1][:, 3])[0, 1], abs=1e-4)


def weights(rows, unembed):
    return LogitWeights(Written(torch.tensor(rows), None, torch.tensor(unembed)), np.arange(unembed.shape[1]))


def test_attributions_are_as_computed_by_hand():
    """Activation times the weight of the next token, correlated over all tokens."""
    rng = np.random.default_rng(0)
    left, right = activity(6), activity(9, seed=1)
    match, following = np.array([4, 1, -1, 8, 0, 2]), rng.integers(0, 12, N_TOKENS)
    right[4] = left[0]
    rows = rng.standard_normal((9, 5)).astype(np.float32)
    unembed = rng.standard_normal((5, 12)).astype(np.float32)
    a = Side(np.arange(6), csr_array(left), weights(rows[:6], unembed))
    b = Side(np.arange(9), csr_array(right), weights(rows, unembed))
    found = attributed(a, b, match, following, GROUPS, N_GROUPS, rng)
    logits = rows @ unembed
    logits -= torch.tensor(logits).median(-1, keepdim=True).values.numpy()
    for latent, other in enumerate(match):
        if other < 0:
            assert found.vectors.value[latent] == found.weights[latent] == 0
            continue
        one, two = left[latent] * logits[latent, following], right[other] * logits[other, following]
        assert found.vectors.value[latent] == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-5)
        alike = np.corrcoef(logits[latent], logits[other])[0, 1]
        assert found.weights[latent] == pytest.approx(alike, abs=1e-5)


def test_interference_hides_what_is_alike_in_logit_weights_and_not_in_attributions():
    """Two latents that raise what follows them in common, and all other tokens each in its own way."""
    rng, n_vocab = np.random.default_rng(0), 40
    acts, following = activity(8), rng.integers(8, n_vocab, N_TOKENS)
    for latent in range(8):
        following[acts[latent] > 0] = latent
    logits = [rng.standard_normal((8, n_vocab)).astype(np.float32) for _ in range(2)]
    for one in logits:
        one[np.arange(8), np.arange(8)] = 6.0
    a, b = (Side(np.arange(8), csr_array(acts), weights(one, np.eye(n_vocab, dtype=np.float32))) for one in logits)
    found = attributed(a, b, np.arange(8), following, GROUPS, N_GROUPS, rng)
    assert found.vectors.value.min() > 0.9 > 0.7 > found.weights.max()
    assert np.abs(found.vectors_null.value).max() < 0.3


def test_figures_stand_beside_their_nulls():
    chosen, judged = activity(), activity(seed=1)
    latents = matched(sides(chosen, judged), sides(chosen, judged + activity(seed=8)))
    a = [dense(16, seed) for seed in (0, 1)]
    b = [one + 3 * dense(16, seed) for seed, one in zip((2, 3), a, strict=True)]
    columns = sides(chosen, judged)
    neurons = match_neurons(batched(a[0], b[0]), batched(a[1], b[1]), columns, columns, (16, 16), GROUPS, N_GROUPS)
    single = np.arange(30) < 10
    made = universality_figures("b", Measured(latents, neurons, None, single, 60.0), "here", 20, signed=False)
    found = {figure.name.removeprefix("universality/b/"): figure for figure in made}
    assert all(figure.failure is None and figure.null is not None for figure in made)
    first, second, apart = (found[name] for name in ("features", "neurons", "advantage"))
    assert first.ci_low < first.value < first.ci_high and first.null < 0.1 < first.ci_low
    more = found["features_of_more_tokens"]
    assert more.n == 20 and more.value == pytest.approx(np.median(latents.found.judged.value[10:]))
    assert apart.value == pytest.approx(first.value - second.value) and first.controls == {"neurons": second.value}
    assert apart.ci_low < apart.value < apart.ci_high and apart.null == 0.0
    few = universality_figures("b", Measured(latents, neurons, None, single, 3.0), "here", 20, signed=False)
    assert all(one.ci_low is None for one in few if one.name.rpartition("/")[2] in ("features", "neurons", "advantage"))


def looked(run, name):
    dictionary = run.dictionary
    return Looked(name, run.model, run.config.model.name, "", run.index, dictionary, dictionary.signed)


@pytest.fixture(scope="module")
def itself(small_workspace, tmp_path_factory):
    """The small run beside itself, and beside the dictionary of its random twin."""
    main, twin = (Run.open(small_workspace, name) for name in ("main", "twin"))
    to = tmp_path_factory.mktemp("universality") / "universality"
    others = [looked(main, "copy"), looked(twin, "twin")]
    return main, universality(
        looked(main, "main"), others, UniversalityConfig(least_active=10), to, inputs={"of": "it"}
    )


def test_universality_of_a_model_with_itself_is_one(itself):
    main, found = itself
    table, other = found.latents("copy"), found.found.other("copy")
    kept = np.flatnonzero(table["match"] >= 0)
    assert len(kept) == other.n_compared > 20
    for name in ("r", "r_chosen", "attribution", "logit"):
        np.testing.assert_allclose(table[name][kept], 1, atol=1e-3, err_msg=name)
    for name in ("features", "attribution", "logit_weights"):
        assert other.figure(name).value == pytest.approx(1, abs=1e-3), name
    assert other.figure("features").null < 0.2 and other.figure("attribution").null < 0.7
    assert other.same_model and other.missing == {"neurons": SAME_MODEL} and len(found.neurons("copy")["neuron"]) == 0
    alike = main.index.table["max"][table["match"][kept]] == main.index.table["max"][kept]
    assert alike.all(), "each is matched with itself, or with one that is the same everywhere"


def test_a_model_of_random_weights_has_less_in_common(itself):
    found = itself[1].found.other("twin")
    assert not found.same_model and not found.missing
    assert found.figure("features").value < itself[1].found.other("copy").figure("features").value - 0.1
    assert 0 < found.figure("neurons").value < 1 and abs(found.figure("neurons").null) < 0.2
    table = itself[1].neurons("twin")
    assert len(table["neuron"]) == 512 and table["latent"].max() < found.n_latents
    assert isinstance(itself[1], Universal)


def test_without_a_direct_path_to_the_logits_it_says_so(small_workspace, tmp_path):
    """As if the dictionary read queries: what these do to logits is no matter of one linear step."""
    main = Run.open(small_workspace, "main")
    index = FeatureIndex(small_workspace.run("main") / "index", main.corpus)
    index.sites = Sites(hooks=(Hook("blocks.0.attn.hook_q"),))
    away = looked(main, "main")._replace(features=index)
    found = universality(
        away, [away._replace(run="copy")], UniversalityConfig(least_active=10), tmp_path / "u", inputs={"of": "queries"}
    )
    other = found.found.other("copy")
    assert set(other.missing) == {"neurons", "attribution"} and "hook_q" in other.missing["attribution"]
    assert other.figure("features").value == pytest.approx(1) and other.figure("attribution") is None
    assert "attribution" not in found.latents("copy")
