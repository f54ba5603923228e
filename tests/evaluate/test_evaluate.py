"""Core figures against slow versions and known cases."""

import numpy as np
import pytest
import torch

from sparselex.activations.live import Reader
from sparselex.base.artifacts import open_artifact
from sparselex.base.sites import Sites
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.types.jumprelu import JumpReLUConfig
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.evaluate.core import AT_MEAN, core_sums
from sparselex.evaluate.core_figures import core_estimates, core_figures
from sparselex.evaluate.evaluate import OF_EXPLAINED
from sparselex.evaluate.latents import density_histogram, latent_figures
from sparselex.evaluate.metrics import METRICS
from sparselex.evaluate.moments import moments
from sparselex.evaluate.records import Evaluation
from sparselex.evaluate.subjects import Itself
from sparselex.lm.load import load_model

HOOK = "blocks.0.mlp.hook_post"


@pytest.fixture(scope="module")
def measured(small_workspace, small_index):
    """Figures of a trained, a perfect and an empty dictionary on test rows; and what they were measured on."""
    reader = Reader(load_model("embedded"), small_index.corpus, Sites.at(HOOK), batch_rows=4)
    mean, covariance = moments(reader, 64)[:2]
    trained = load_dictionary(small_workspace.run("main") / "dictionary")
    empty = neurons(mean, 1)
    empty.W_dec.zero_()
    subjects = {
        "trained": Itself(trained),
        "perfect": Itself(neurons(mean, 512)),
        "mean": Itself(empty),
        "pca": Itself(principal_components(mean, covariance, 8)),
    }
    rows = np.array(small_index.corpus.row_ranges["test"])
    sums = core_sums(reader, subjects, mean, rows)
    at_mean = sums[AT_MEAN][0]
    figures = {name: {f.name[5:]: f for f in core_figures(part[0], at_mean)} for name, part in sums.items()}
    return reader, trained, rows, figures


def test_a_perfect_dictionary(measured):
    perfect = measured[3]["perfect"]
    for name, value in {
        "fvu": 0,
        "cosine": 1,
        "norm_ratio": 1,
        "ce_increase": 0,
        "kl": 0,
        "loss_recovered_mean": 1,
        "loss_recovered_zero": 1,
        "kl_recovered_mean": 1,
    }.items():
        assert abs(perfect[name].value - value) < 1e-5, name


def test_a_dictionary_that_says_nothing(measured):
    figures = measured[3]["mean"]
    assert abs(figures["loss_recovered_mean"].value) < 1e-6 and abs(figures["kl_recovered_mean"].value) < 1e-6
    assert 0.99 < figures["fvu"].value < 1.2  # the training mean is not quite the test mean


def test_the_null_is_the_mean_in_the_site_s_place(measured):
    figures = measured[3]
    for name, figure in figures["trained"].items():
        if name in ("l0", "ce_loss"):
            assert figure.null is None
        else:
            assert figure.null == pytest.approx(figures["mean"][name].value, rel=1e-4, abs=1e-6), name
    assert figures["trained"]["loss_recovered_mean"].null == figures["trained"]["kl_recovered_mean"].null == 0


def test_figures_equal_a_slow_pass(measured):
    reader, dictionary, rows, figures = measured
    tokens = reader.tokens(rows)
    text = reader.corpus.text_mask(rows)
    x = reader.model.read(tokens, [HOOK])[HOOK][torch.from_numpy(text)].double()
    x_hat = dictionary(x.float()).double()
    assert np.isclose(figures["trained"]["l0"].value, (dictionary.encode(x.float()) != 0).double().sum(-1).mean())
    fvu = (x - x_hat).square().sum() / (x - x.mean(0)).square().sum()
    assert np.isclose(figures["trained"]["fvu"].value, fvu, rtol=1e-6)
    logits = reader.model.run(tokens).logits
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    assert np.isclose(
        figures["trained"]["ce_loss"].value, losses[torch.from_numpy(text[:, 1:].flatten())].mean(), rtol=1e-5
    )
    new = torch.zeros(*tokens.shape, 512)
    mask = torch.from_numpy(text)

    def splice(values):
        new[mask] = values.float()
        edited = reader.model.run(tokens, edits={HOOK: lambda v: torch.where(mask[..., None], new, v)}).logits
        each = torch.nn.functional.cross_entropy(
            edited[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        return float(each[torch.from_numpy(text[:, 1:].flatten())].mean())

    clean, spliced, zero = figures["trained"]["ce_loss"].value, splice(x_hat), splice(torch.zeros_like(x_hat))
    assert np.isclose(figures["trained"]["ce_increase"].value, spliced - clean, atol=1e-4)
    assert np.isclose(
        figures["trained"]["loss_recovered_zero"].value, 1 - (spliced - clean) / (zero - clean), atol=1e-4
    )


def test_every_figure_has_its_n_and_definition_and_an_interval_where_documents_are_enough(measured):
    for figure in measured[3]["trained"].values():
        assert figure.n > 500 and "over" in figure.definition and "of one size" in figure.definition
        assert figure.ci_low is None and figure.n_units == 8 and 5 < figure.n_effective <= 8, "eight documents"
        assert figure.se > 0
    assert set(measured[3]["trained"]) == set(METRICS.names())


def sums_of(n_documents=60, lost=0.5, seed=0):
    """Sums of documents in which the mean in a site's place costs `lost` nats a token, give or take."""
    rng = np.random.default_rng(seed)
    n = rng.integers(50, 200, n_documents).astype(float)
    ce = n * rng.normal(2.5, 0.1, n_documents)
    costs = n * rng.normal(lost, 0.02, n_documents)
    x = rng.normal(size=(n_documents, 3)) * n[:, None]
    square = (x**2).sum(1) / n + n * 3
    found = {"n": n, "n_predicted": n, "l0": 30 * n, "error": 0.2 * square, "square": square, "x": x}
    found |= {"cosine": 0.9 * n, "norm_ratio": 0.9 * n, "ce": ce, "kl": 0.1 * n, "kl_mean": n}
    return found | {"ce_spliced": ce + 0.1 * costs, "ce_mean": ce + costs, "ce_zero": ce + 2 * costs}


def figures_of(**options):
    return {figure.name.removeprefix("core/"): figure for figure in core_figures(sums_of(**options))}


def test_a_model_that_ablation_helps_has_no_loss_to_recover():
    helped, equal = figures_of(lost=-0.01), figures_of(lost=0.001)
    for figures in (helped, equal):
        assert figures["loss_recovered_mean"].value is None
        assert "not worse beyond doubt with the site at its mean" in figures["loss_recovered_mean"].failure
        assert "not worse beyond doubt with the site at zero" in figures["loss_recovered_zero"].failure
    assert "-0.0" in helped["loss_recovered_mean"].failure and "interval" in helped["loss_recovered_mean"].failure
    hurt = figures_of(lost=0.5)["loss_recovered_mean"]
    assert hurt.value == pytest.approx(0.9) and hurt.better == "higher"


def test_with_few_documents_their_signs_say_whether_there_is_a_loss_to_recover():
    """One long document among them makes any interval wide; where every one of them loses, that is beyond doubt."""
    few = sums_of(n_documents=9, lost=0.5)
    few = {name: np.concatenate([column, 30 * column[:1]]) for name, column in few.items()}
    found = {figure.name: figure for figure in core_figures(few)}["core/loss_recovered_mean"]
    assert found.value == pytest.approx(0.9) and found.ci_low is None
    assert "no interval, with documents that count as 1." in found.definition
    for nothing in (figures_of(n_documents=9, lost=0.001), figures_of(n_documents=1, lost=0.5)):
        failure = nothing["loss_recovered_mean"].failure
        assert failure.startswith("it is not known from so few documents") and "documents)" in failure


def test_fvu_is_about_the_mean_of_all_and_leaving_one_out_does_not_move_it():
    sums = sums_of()
    found = next(one for one in core_estimates(sums) if one.figure.name == "core/fvu")
    spread = sums["square"].sum() - (sums["x"].sum(0) ** 2).sum() / sums["n"].sum()
    assert found.figure.value == pytest.approx(sums["error"].sum() / spread)
    mean = sums["x"].sum(0) / sums["n"].sum()
    each = sums["square"] - 2 * sums["x"] @ mean + sums["n"] * (mean @ mean)
    without = (sums["error"].sum() - sums["error"]) / (each.sum() - each)
    n = len(each)
    np.testing.assert_allclose(found.jackknife.influences, (found.figure.value - without) * np.sqrt((n - 1) / n))
    assert found.figure.ci_low < found.figure.value < found.figure.ci_high


def test_principal_components_beat_neurons_at_equal_l0(measured):
    assert measured[3]["pca"]["fvu"].value < measured[3]["mean"]["fvu"].value


def test_shares_of_latents_are_those_on_test_documents(small_index):
    """Against a loop over latents and groups of documents."""
    tokens, n = small_index.counted_tokens("test"), small_index.n_tokens["test"]
    active = np.array([len(small_index.counted_column(j, "test").ranks) for j in range(small_index.d_sae)])
    found = {figure.name: figure for figure in latent_figures(small_index, 0.05)}
    assert found["core/dead_share"].value == pytest.approx((active == 0).mean())
    assert found["core/dense_share"].value == pytest.approx((active > 0.05 * n).mean())
    alive = found["core/alive_share"]
    assert alive.value + found["core/dead_share"].value == pytest.approx(1) and alive.n == n == len(tokens)
    without = []  # of these eight documents each is a group of its own
    for document in range(tokens.n_documents):
        others = [
            (tokens.documents[small_index.counted_column(j, "test").ranks] != document).any()
            for j in range(small_index.d_sae)
        ]
        without.append(np.mean(others))
    assert alive.n_units == tokens.n_documents == 8
    se = np.sqrt(7 / 8 * np.square(alive.value - np.array(without)).sum())
    assert alive.se == pytest.approx(se) and "groups of documents" in alive.definition
    assert all(one.ci_low is None or 0 < one.ci_low < one.value < one.ci_high < 1 for one in found.values())


def test_densities_count_every_latent(small_index):
    histogram = density_histogram(small_index)
    assert sum(histogram.counts) + histogram.n_dead == small_index.d_sae


@pytest.mark.parametrize(("above", "words"), [(0.1, "10%"), (0.004, "0.4%"), (0.07, "7%"), (1e-6, "0.0001%")])
def test_what_counts_as_dense_is_said_as_it_was_given(small_index, above, words):
    assert f"active on more than {words} of tokens" in latent_figures(small_index, above)[-1].definition


def test_an_evaluation_on_disk_says_where_and_on_what_it_was_measured(small_workspace, small_index):
    folder = small_workspace.run("main") / "evaluation"
    manifest = open_artifact(folder, "evaluation")
    assert set(manifest.files) == {"figures.json", "density.json", "influences.json"}
    assert manifest.inputs["index"] == small_index.id and manifest.notes["asked_l0"] == 8
    assert manifest.config["sites"]["hooks"] == [HOOK] and "mask" not in manifest.config["options"]
    found = Evaluation.read(folder)
    assert sum(found.density.counts) + found.density.n_dead == small_index.d_sae
    names = [figure.name for figure in found.figures]
    core = [f"core/{name}" for name in (*METRICS.names(), "alive_share", "dead_share", "dense_share")]
    assert names == [f"explained/{name}" for name in OF_EXPLAINED] + core
    assert set(found.controls) == {"token_lookup", "pair_lookup", "neurons", "pca", "covariance"}
    assert set(found.influences.subjects) == {"", *found.controls} and len(found.influences.documents) == 8
    for figure in found.controls["pca"]:
        if figure.name.startswith("explain/"):
            continue
        influences = found.influences.of("pca", figure.name)
        assert figure.failure or np.sqrt(np.square(influences).sum()) == pytest.approx(figure.se)


def test_what_l0_was_asked_for_is_what_decided_in_training():
    size = {"d_in": 6, "d_sae": 12}
    asked = [
        TopKConfig(**size, k=5).asked_l0,
        JumpReLUConfig(**size, target_l0=5).asked_l0,
        JumpReLUConfig(**size, sparsity="tanh").asked_l0,
        ReLUConfig(**size, l1=1.0).asked_l0,
    ]
    assert asked == [5.0, 5.0, None, None]
