"""Control dictionaries in an evaluation: each named one is made, measured at the dictionary's L0, and shown in the
report."""

import shutil

import numpy as np
import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.controls import bases
from sparselex.dictionaries.controls.neurons import neurons, unkept_means
from sparselex.dictionaries.kinds import CONTROLS
from sparselex.evaluate.config import LOOKUPS, EvaluateConfig
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.moments import Moments, PairSums, TokenSums
from sparselex.evaluate.report import report
from sparselex.recipes.run import Run
from sparselex.testing import check_dictionary


def sample(d_in=6):
    """Sums of a few independent causes."""
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(900, d_in, generator=generator) - 0.5
    sources = -uniform.sign() * (1 - 2 * uniform.abs()).log()
    return sources @ (torch.randn(d_in, d_in, generator=generator) + 0.5) + 3


def moments_of(x):
    """Without sums by token, which no control dictionary asks for."""
    tokens = TokenSums(torch.zeros(1, 1), torch.zeros(1))
    pairs = PairSums(np.zeros(0, dtype=np.int64), torch.zeros(0, 1), torch.zeros(0))
    return Moments(x.mean(0), x.double().T.cov(correction=0), tokens, pairs, len(x))


def made(names, *, d_sae=20, k=3, n_steps=4):
    x = sample()
    moments = moments_of(x)
    return control_dictionaries(names, moments.mean, moments.covariance, lambda: x, d_sae=d_sae, k=k, n_steps=n_steps)


@pytest.mark.parametrize("name", CONTROLS.names())
def test_every_control_is_a_dictionary_at_the_given_l0(name):
    if name == "ica":
        pytest.importorskip("sklearn")
    found = made([name])[name]
    check_dictionary(found)
    assert found.config.kind == name and found.d_sae == (6 if name in ("neurons", "pca", "ica") else 20)
    assert ((found.encode(sample()) != 0).sum(-1) == 3).all()
    again = made(["covariance", name])[name]
    assert torch.equal(again.W_dec, found.W_dec), "a control does not depend on its company"


def test_no_more_latents_are_active_than_there_are_dimensions():
    for name, found in made(["neurons", "pca", "random", "covariance", "kmeans"], k=9).items():
        assert found.config.k == 6, name
        x = sample()
        assert (found(x) - x).square().sum() < 1e-3 * (x - x.mean(0)).square().sum()


def test_more_steps_are_a_stronger_control():
    x = sample()
    weak, strong = (float((made(["random"], n_steps=n)["random"](x) - x).square().sum()) for n in (1, 3))
    assert strong < weak


def test_only_what_needs_the_sample_reads_it():
    x = sample()
    moments = moments_of(x)

    def refuse():
        raise AssertionError("read")

    assert (
        len(control_dictionaries(["pca", "random", "covariance"], *moments[:2], refuse, d_sae=20, k=3, n_steps=4)) == 3
    )
    with pytest.raises(AssertionError, match="read"):
        control_dictionaries(["kmeans"], *moments[:2], refuse, d_sae=20, k=3, n_steps=4)


def test_neurons_that_are_not_kept_are_at_their_mean_over_just_these_tokens():
    """The values that give the least error for the coordinates that are left: found in turns, and none of them
    rises the error; of neurons that are mostly silent they are far from the mean of all."""
    x = sample(8).relu_()
    best = unkept_means(x, x.mean(0), 2)

    def error(fill):
        return float((neurons(fill, 2)(x) - x).square().sum())

    kept = neurons(best, 2).encode(x) != 0
    without = torch.stack([x[~kept[:, place], place].mean() for place in range(8)])
    torch.testing.assert_close(best, without, rtol=0.05, atol=0.1)
    assert error(best) < 0.97 * error(x.mean(0))


def test_controls_to_be_explained_are_among_those_measured():
    assert EvaluateConfig().controls_explained == ("neurons", "pca")
    assert EvaluateConfig(controls=("pca", "random")).controls_explained == ("pca",)
    assert EvaluateConfig(controls=()).controls_explained == ()
    with pytest.raises(UserError, match="kmeans is to be explained, and not to be measured"):
        EvaluateConfig.parse({"explained_controls": ["kmeans"]}, "options")


def test_ica_without_scikit_learn_is_one_clear_message(monkeypatch):
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install sparselex\[ica\]"):
        made(["ica"])


def test_an_unknown_control_is_named():
    with pytest.raises(UserError, match="nerons"):
        EvaluateConfig.parse({"controls": ["nerons"]})


def test_controls_of_a_run_stand_in_its_report(small_workspace):
    found = Run.open(small_workspace).do("evaluate")
    assert set(found.controls) == {"token_lookup", "pair_lookup", "neurons", "pca", "covariance"}
    by_name = {name: {figure.name: figure for figure in part} for name, part in found.controls.items()}
    fvu = {name: part["core/fvu"] for name, part in by_name.items()}
    assert fvu["covariance"].value < fvu["neurons"].value
    l0 = next(figure.value for figure in found.figures if figure.name == "core/l0")
    for name, part in by_name.items():
        assert part["core/l0"].value == (1 if name in LOOKUPS else l0)
    shown = {figure.name: figure for figure in report(small_workspace).figures}["core/fvu"].controls
    assert {name: shown[name] for name in fvu} == {name: figure.value for name, figure in fvu.items()}


@pytest.mark.slow
def test_another_choice_of_controls_is_measured_anew(small_workspace, tmp_path):
    """On a copy: the shared workspace is read only."""
    shutil.copytree(small_workspace.path, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    main = Run.open(workspace)
    found = main.do("evaluate", controls=["random", "kmeans"])
    assert set(found.controls) == {*LOOKUPS, "random", "kmeans"}
    assert found.figures == Run.open(small_workspace).do("evaluate").figures
    assert set(main.do("evaluate", controls=[]).controls) == {*LOOKUPS}
    shown = {figure.name: figure for figure in report(workspace).figures}["core/fvu"].controls
    assert set(shown) == {"twin", *LOOKUPS}
