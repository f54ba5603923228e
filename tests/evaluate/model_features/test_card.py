"""The measurements of the card: each against a slow version of its formula on a small model with more than one layer,
their nulls at what they must be, and what was planted."""

import shutil

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, Sites
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.directions import largest_along
from sparselex.evaluate.model_features.asked import LATENTS, Asked, Into, Other, unit
from sparselex.evaluate.model_features.attributed import _gradients, _together, attribution
from sparselex.evaluate.model_features.composition import best_pair, composition
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.doses import _all, _changes, _divergences, _tuned, doses
from sparselex.evaluate.model_features.errors import errors
from sparselex.evaluate.model_features.jacobian import _gradient, edges, hoyer, jacobians
from sparselex.evaluate.model_features.moved import moved
from sparselex.evaluate.model_features.plateau import LENGTHS, half_length, plateau
from sparselex.evaluate.model_features.read import relevance
from sparselex.evaluate.model_features.records import SHUFFLED
from sparselex.evaluate.model_features.sensitivity import ratios
from sparselex.evaluate.model_features.stability import stability
from sparselex.evaluate.model_features.tokens import entropies, token_entropy
from sparselex.evaluate.versions import Versions
from sparselex.recipes.run import Run

HOOK = Hook("blocks.0.hook_resid_pre")
"""A site behind which attention moves things between tokens."""

FEW = ModelFeaturesConfig(
    n_rows=24,
    sample_rows=40,
    n_directions=200,
    latents=24,
    control_latents=8,
    n_places=4,
    n_beside=4,
    n_tokens=24,
    n_after=3,
    controls=("neurons",),
)


@pytest.fixture(scope="module", autouse=True)
def without_gradients():
    """As the walk measures."""
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def run(small_workspace, tmp_path_factory) -> Run:
    return Run.open(Workspace(shutil.copytree(small_workspace.path, tmp_path_factory.mktemp("card") / "w")))


def asked_of(run, dictionary, hook=HOOK, config=FEW, others=None, into=None) -> Asked:
    reader = Reader(run.model, run.corpus, Sites(hooks=(hook,)), batch_rows=8)
    return Asked.of(run.model, reader, hook, dictionary, config, others, into)


def along(rows, k=4, bias=0.0):
    """A dictionary of directions: on a token the largest `k` projections are active, those above `-bias`."""
    width = rows.shape[1]
    return largest_along(normalize(rows, dim=-1), torch.full((len(rows),), bias), k, torch.zeros(width), (width,))


@pytest.fixture(scope="module")
def asked(run) -> Asked:
    width = run.model.width(HOOK)
    return asked_of(run, along(torch.randn(60, width, generator=torch.Generator().manual_seed(0))))


def slow(asked, position, vector, n_after=FEW.n_after):
    """By how much predictions and loss move, from two whole passes over the row."""
    corpus = asked.reader.corpus
    row, column = divmod(int(position), corpus.n_ctx)
    tokens = asked.reader.tokens(np.array([row]))

    def change(x):
        new = x.clone()
        new[:, column] += vector
        return new

    p = asked.model.run(tokens).logits[0].double().log_softmax(-1)
    q = asked.model.run(tokens, edits={asked.hook: change}).logits[0].double().log_softmax(-1)
    documents = np.asarray(corpus.documents[row])
    kl = loss = 0.0
    for place in range(column, min(column + n_after + 1, corpus.n_ctx)):
        if documents[place] != documents[column]:
            break
        kl += float((p[place].exp() * (p[place] - q[place])).sum())
        if place + 1 < corpus.n_ctx and documents[place + 1] == documents[column]:
            loss += float(p[place, tokens[0, place + 1]] - q[place, tokens[0, place + 1]])
    return kl, loss


def test_what_steps_move_is_what_two_passes_differ_by(asked):
    active = asked.drawn(LATENTS).of(np.arange(12))
    vectors = torch.from_numpy(active.value)[:, None] * asked.directions[torch.from_numpy(active.direction)]
    found = moved(asked, active.position, lambda some: vectors[torch.from_numpy(some)], "test")
    expected = [slow(asked, position, vector) for position, vector in zip(active.position, vectors, strict=True)]
    np.testing.assert_allclose(found.kl, [kl for kl, _ in expected], rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(found.loss, [loss for _, loss in expected], rtol=2e-3, atol=1e-4)


def test_a_ratio_is_the_divergence_along_a_latent_over_that_beside_it(asked):
    found = ratios(asked, LATENTS)
    active, of = asked.drawn(LATENTS), int(found.names[3])
    own = active.of(active.direction == of)
    for step, share in enumerate(FEW.lengths):
        length = share * asked.typical
        vectors = np.sign(own.value)[:, None] * unit(asked.directions)[of].numpy() * length
        expected = sum(
            slow(asked, at, torch.from_numpy(v).float())[0] for at, v in zip(own.position, vectors, strict=True)
        )
        assert found.along.sum(0)[3, step] == pytest.approx(expected, rel=5e-3)
    taken = sum(
        slow(asked, at, -value * asked.directions[of])[0] for at, value in zip(own.position, own.value, strict=True)
    )
    assert found.along.sum(0)[3, -1] == pytest.approx(taken, rel=5e-3)
    np.testing.assert_allclose(found.value(), found.along.sum(0) / found.beside.sum(0))


def test_directions_drawn_as_activations_vary_have_a_ratio_of_one(run, asked):
    """As latents, and as the null that stands in their place."""
    drawn = asked_of(run, along(asked.beside[:120], k=120, bias=50.0), config=FEW.model_copy(update={"latents": 80}))
    found = ratios(drawn, LATENTS)
    whole = found.along.sum((0, 1)) / found.beside.sum((0, 1))
    null = found.null.sum((0, 1)) / found.beside.sum((0, 1))
    np.testing.assert_allclose(whole[:-1], 1, atol=0.15)
    np.testing.assert_allclose(null[:-1], 1, atol=0.15)


def test_a_planted_unread_direction_moves_nothing_and_a_read_one_does(run):
    """The mean of the last residual stream is taken out by the norm before the unembedding."""
    hook = Hook("blocks.0.hook_resid_post")
    width = run.model.width(hook)
    top = torch.linalg.svd(run.model.readout(hook).unembed.detach().float())[0].T[:1]
    dictionary = along(torch.cat([torch.ones(1, width), top]), k=2, bias=50.0)
    planted = asked_of(run, dictionary, hook)
    found = ratios(planted, LATENTS).value()
    assert found[0, :-1].max() < 1e-3 and found[1, :-1].min() > 1


def test_shuffled_latents_say_what_they_said_and_write_what_others_do(asked):
    one, other = asked.active(LATENTS), asked.active(SHUFFLED)
    assert (one.position == other.position).all() and (one.value == other.value).all()
    rows = asked.shuffled
    assert not (rows == asked.directions).all(-1)[asked.variances > 0].any()
    for values in (rows, asked.directions):
        assert sorted(values.norm(dim=-1).tolist()) == pytest.approx(sorted(asked.directions.norm(dim=-1).tolist()))
    assert ratios(asked, SHUFFLED).names.tolist() == sorted(set(asked.drawn(SHUFFLED).direction.tolist()))


def test_gradients_are_those_of_finite_differences(asked):
    active = asked.drawn(LATENTS).of(np.arange(0, 20, 4))
    gradient = _gradients(asked, active.position, torch.zeros(len(active.position), asked.directions.shape[1]))
    for place, at in enumerate(active.position):
        u = normalize(torch.randn(gradient.shape[1], generator=torch.Generator().manual_seed(place)), dim=0)
        step = 2e-3 * asked.typical
        up, down = (slow(asked, at, sign * step * u)[1] for sign in (1, -1))
        assert float(gradient[place] @ u) == pytest.approx((up - down) / (2 * step), rel=0.05, abs=2e-4)


def test_tokens_far_apart_are_not_computed_together():
    column = np.array([0, 3, 500, 501, 502, 1000])
    parts = list(_together(np.arange(6), column, 4, 100))
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3, 4], [5]]
    assert [len(part) for part in _together(np.arange(6), np.zeros(6, dtype=np.int64), 0, 4)] == [4, 2]
    assert [len(part) for part in _together(np.arange(2), np.array([0, 5000]), 0, 4)] == [1, 1]


def test_attribution_and_ablation_agree_where_the_model_is_linear(run, asked):
    """So it is to what is small. With latents as large as activations they need not agree, and it is said."""
    small = along(asked.directions)
    small.W_dec.data.mul_(1e-3)
    found = {figure.name.rpartition("/")[2]: figure for figure in attribution(asked_of(run, small)).figures}
    assert found["attribution"].value > 0.98 and found["attribution_slope"].value == pytest.approx(1, abs=0.03)
    assert "attribution_integrated" not in found
    large = along(asked.directions)
    large.W_dec.data.mul_(20)
    figures = {figure.name.rpartition("/")[2]: figure for figure in attribution(asked_of(run, large)).figures}
    assert figures["attribution"].value < found["attribution"].value
    assert ("attribution_integrated" in figures) == (figures["attribution"].value < 0.8)


def test_the_error_test_says_what_was_left_out(run, asked):
    """A dictionary of all directions but a few leaves out what is linear in the activation, and nothing else."""
    width = run.model.width(HOOK)
    basis = torch.linalg.svd(torch.cov(asked.sample.T))[0].T
    kept = along(torch.cat([basis[4:], -basis[4:]]), k=2 * width)
    left_out = asked_of(run, kept)
    found = {figure.name.rpartition("/")[2]: figure for figure in errors(left_out).figures}
    assert found["error_linear"].value > 0.99
    assert found["error_loss_linear"].value == pytest.approx(found["error_loss"].value, abs=1e-3)
    assert found["error_loss_rest"].value == pytest.approx(0, abs=1e-3)
    numbers = left_out.tokens(FEW.n_tokens, "errors")
    x, at = left_out.test[1][torch.from_numpy(numbers)], left_out.test[2][numbers]
    error = x - left_out.reconstructed(x)
    torch.testing.assert_close(error, x @ basis[:4].T @ basis[:4], rtol=1e-3, atol=1e-4)
    expected = np.mean([slow(left_out, one, -e)[1] for one, e in zip(at, error, strict=True)])
    assert found["error_loss"].value == pytest.approx(expected, rel=1e-2, abs=1e-4)
    assert found["error_ratio"].null == 1 and found["error_ratio"].value > 0
    # What any dictionary has more of than none would: not held against it.
    asked_about = {name for name, figure in found.items() if figure.better}
    assert asked_about == {"error_ratio"}


def test_half_lengths_are_where_curves_are_half_of_their_end():
    assert half_length(LENGTHS**2) == pytest.approx(2 / np.sqrt(2), abs=0.01)
    assert half_length(np.stack([LENGTHS, np.full(20, 3.0)])) == pytest.approx([1.0, 0.05])
    assert np.isnan(half_length(np.zeros(20)))


def test_a_plateau_says_how_flat_a_model_is_around_what_it_meets(asked):
    found = plateau(asked)
    assert [len(curve.x) == len(curve.y) == 20 for curve in found.curves] == [True] * 3
    value = {figure.name.rpartition("/")[2]: figure for figure in found.figures}
    assert 0.3 < value["plateau"].value < 3 and value["plateau"].null == 1
    curves = {curve.name: np.array(curve.y) for curve in found.curves}
    ratio = half_length(curves["real, as activations differ"]) / half_length(curves["Gaussian, as activations differ"])
    assert value["plateau"].value == pytest.approx(ratio, rel=1e-6)


def test_parts_are_the_two_rows_a_direction_is_best_made_of(run, asked):
    width = run.model.width(HOOK)
    parts = normalize(torch.randn(30, width, generator=torch.Generator().manual_seed(1)), dim=-1)
    rows = torch.cat([parts, normalize(parts[4] + parts[9], dim=-1)[None]])
    numbers = torch.arange(31)
    assert set(best_pair(rows[30:], rows, numbers[30:], numbers)[0].tolist()) == {4, 9}
    dictionary = along(rows, k=31, bias=50.0)
    dictionary.W_dec.data.mul_(1e-2)  # where effects add
    found = composition(asked_of(run, dictionary, config=FEW.model_copy(update={"latents": 31})))
    each = found.measured["model_features/composed"]
    assert each[30] > 0.97 and sorted(each.values())[-2] < each[30]
    assert {figure.name for figure in found.figures} == {"model_features/composed", "model_features/composed_share"}


def test_doses_are_what_they_say(asked):
    names = np.unique(asked.drawn(LATENTS).direction)[:6]
    positions, table, sign = asked.test[2][::97][:8], unit(asked.directions), np.ones(6)
    lengths = _tuned(asked, names, positions, table, sign, 0.05)
    found = _divergences(asked, names, positions, table, lengths)
    np.testing.assert_allclose(found, 0.05, rtol=0.11)
    steps = _all(names, positions, lengths).steps(table)(np.arange(8))
    expected = np.mean([slow(asked, at, step, 0)[0] for at, step in zip(positions, steps, strict=True)])
    assert found[0] == pytest.approx(expected, rel=1e-2)
    changed = _changes(asked, names, positions, table, lengths)
    torch.testing.assert_close(changed.sum(1), torch.zeros(6), atol=1e-4, rtol=0)
    figures = doses(asked).figures
    assert [figure.name for figure in figures] == [
        f"model_features/{name}/{dose}" for dose in ("0.05", "0.5") for name in ("dose", "dose_specific")
    ]
    assert figures[0].value > figures[0].null


def test_entropies_are_what_a_slow_version_gives(asked):
    rng = np.random.default_rng(0)
    owner, token, weight = rng.integers(0, 5, 300), rng.integers(0, 9, 300), rng.random(300)
    names, found = entropies(owner, token, weight)
    for name, value in zip(names, found, strict=True):
        share = np.bincount(token[owner == name], weight[owner == name])
        share = share[share > 0] / share.sum()
        assert value == pytest.approx(-(share * np.log(share)).sum())
    figure = token_entropy(asked).figures[0]
    assert figure.value < figure.null


def test_a_jacobian_is_that_of_a_whole_pass(run, asked):
    """From latents before a block to latents behind it, at the same token."""
    later = Hook("blocks.0.hook_resid_post")
    reads = along(torch.randn(40, run.model.width(later), generator=torch.Generator().manual_seed(5)), k=6)
    into = Into("later", reads, later)
    here = asked_of(run, asked.dictionary, config=FEW.model_copy(update={"n_tokens": 6}), into=into)
    position = int(here.test[2][50])
    n_ctx = here.reader.corpus.n_ctx
    versions = Versions.of(here.reader, here.model, np.array([position // n_ctx]), (HOOK,), 0)
    gradient = _gradient(versions, here, into, position, reads.encoder_rows())
    row, column = divmod(position, n_ctx)
    with torch.enable_grad():
        seen = here.model.run(here.reader.tokens(np.array([row])), read=[HOOK, later], grad=True, logits=False).values
        there = seen[later][0, column]
        active = reads.encode_sparse(there.detach()[None]).indices
        rows = [torch.autograd.grad(there @ reads.W_enc.T[one], seen[HOOK], retain_graph=True)[0] for one in active]
    torch.testing.assert_close(gradient, torch.stack(rows)[:, 0, column], rtol=1e-3, atol=1e-4)
    found = {figure.name.rpartition("/")[2]: figure for figure in jacobians(here).figures}
    assert 0 < found["jacobian_edges"].value < 1 and 0 < found["jacobian_hoyer"].value < 1
    assert jacobians(asked).figures == []


def test_sparsity_of_entries_is_what_it_says():
    one = torch.zeros(4, 5)
    one[2, 3] = -7.0
    assert edges(one) == 1 / 20 and hoyer(one) == pytest.approx(1)
    assert edges(torch.ones(4, 5)) == 18 / 20 and hoyer(torch.ones(4, 5)) == pytest.approx(0)
    assert np.isnan(edges(torch.zeros(3, 3))) and np.isnan(hoyer(torch.zeros(0, 3)))


def test_a_dictionary_is_found_again_in_itself_and_by_chance_in_no_other(run, asked):
    width = run.model.width(HOOK)
    mine = along(asked.directions)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    others = {
        "again": Other(along(asked.directions[order]), "the same in another order", ()),
        "other": Other(along(torch.randn(60, width, generator=torch.Generator().manual_seed(3))), "others", ()),
    }
    here = asked_of(run, mine, others=others)
    again, other = stability(here, relevance(here)).compared
    share = lambda one, name: next(figure for figure in one.figures if figure.name == f"model_features/{name}")
    assert share(again, "found_again").value == 1 and share(again, "shared").value == 1
    assert share(other, "found_again").value < 0.05 and share(other, "shared").value == 0


def test_another_site_few_documents_and_few_tokens_are_told(run, asked):
    with pytest.raises(UserError, match=r"was to be asked about blocks\.0\.hook_resid_post(?s:.*)own sites"):
        reader = Reader(run.model, run.corpus, Sites(hooks=(HOOK,)))
        Asked.of(run.model, reader, Hook("blocks.0.hook_resid_post"), asked.dictionary, FEW)
    with pytest.raises(UserError, match=r"There are \d documents to test on(?s:.*)5 or more"):
        asked_of(run, asked.dictionary, config=FEW.model_copy(update={"n_rows": 2}))
    few = next(figure for figure in relevance(asked).figures if figure.name.endswith("read_span"))
    n = len(asked.test[2])
    if n < 10 * asked.directions.shape[1]:
        assert "are needed" in few.failure
    else:
        assert few.value is not None
