"""Toys: how near components come to mechanisms that are known."""

import pytest
import torch
from safetensors.torch import load_file

from sparselex.base.errors import UserError
from sparselex.base.files import read_json
from sparselex.base.workspace import Workspace
from sparselex.parameters.config import AttackConfig, SpdConfig
from sparselex.parameters.records import WEIGHTS
from sparselex.parameters.toys.config import TOYS, TmsConfig, ToyConfig
from sparselex.parameters.toys.known import nearness, random_nearness
from sparselex.parameters.toys.tms import EMBED, IDENTITY, UNEMBED, draw_features, train_tms
from sparselex.parameters.toys.walk import CONTROL, decompose_toy

TINY = ToyConfig(
    toy=TmsConfig(n_steps=20, batch_size=64, identity=True),
    spd=SpdConfig(n_components=6, d_gate=3, n_steps=20, batch_size=32),
    attack=AttackConfig(n_inputs=20, n_steps=2),
    n_inputs=200,
)


def test_the_mechanisms_themselves_are_nearest():
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    found = nearness(weight, 2 * weight.T.contiguous(), 0.5 * torch.eye(7))
    for values in found:
        assert torch.allclose(values, torch.ones(7))


def test_a_cosine_knows_the_sign_of_a_column_and_a_ratio_its_length():
    weight = torch.eye(2)
    found = nearness(weight, torch.tensor([[-1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-3.0, 0.0], [1.0, 1.0]]))
    assert torch.allclose(found.cosine, torch.ones(2))
    assert torch.allclose(found.length_ratio, torch.tensor([3.0, 1.0]))
    assert torch.allclose(found.whole_cosine, torch.tensor([1.0, 0.5**0.5]))


def test_no_component_is_near_to_nothing():
    assert all((values == 0).all() for values in nearness(torch.eye(2), torch.zeros(0, 2), torch.zeros(0, 2)))


def test_few_dimensions_give_a_high_cosine_by_chance_alone():
    draws = lambda: torch.Generator().manual_seed(0)
    low, high = torch.randn(2, 5, generator=draws()), torch.randn(10, 40, generator=draws())
    assert random_nearness(low, 20, draws()).cosine.mean() > 0.95
    assert random_nearness(high, 20, draws()).cosine.mean() < 0.7
    assert random_nearness(low, 20, draws()).whole_cosine.mean() < 0.85


def test_a_trained_toy_gives_back_what_it_reads():
    config = TmsConfig(n_steps=500, batch_size=512)
    x = draw_features(2000, config, torch.Generator().manual_seed(1))
    errors = [
        float(target.distance(target.run(x, {}).output, x).mean())
        for target in (train_tms(config, 0), train_tms(config.model_copy(update={"n_steps": 0}), 0))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_an_identity_in_between_changes_nothing():
    config = TmsConfig(n_steps=20, batch_size=64)
    plain, with_identity = train_tms(config, 0), train_tms(config.model_copy(update={"identity": True}), 0)
    x = draw_features(50, config, torch.Generator().manual_seed(1))
    assert torch.allclose(plain.run(x, {}).output, with_identity.run(x, {}).output)
    assert list(plain.weights) == [EMBED, UNEMBED] and list(with_identity.weights) == [EMBED, IDENTITY, UNEMBED]


def test_a_toy_is_decomposed_once_beside_its_control(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    found = decompose_toy(workspace, "tms-5-2-id", TINY)
    assert [one.name for one in found.matrices] == [EMBED, IDENTITY, UNEMBED]
    names = {figure.name for figure in found.figures}
    assert {"parameters/embed/mmcs", "parameters/identity/l0", "parameters/distance/adversarial"} <= names
    assert all(CONTROL in figure.controls for figure in found.figures if figure.value is not None)
    assert all(0 <= one.n_live <= one.n_components == 6 for one in (*found.matrices, *found.control_matrices))
    folder = workspace.path / "decompositions" / "tms-5-2-id"
    weights = load_file(folder / WEIGHTS)
    assert weights["embed.V"].shape == (6, 5) and weights["target.embed"].shape == (2, 5)
    assert not list(folder.glob("checkpoint*"))
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert decompose_toy(workspace, "tms-5-2-id", TINY) == found
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_another_decomposition_of_a_toy_is_not_replaced_unasked(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    decompose_toy(workspace, "tms-5-2", TINY)
    other = TINY.model_copy(update={"seed": 1})
    with pytest.raises(UserError, match="with other settings"):
        decompose_toy(workspace, "tms-5-2", other)
    decompose_toy(workspace, "tms-5-2", other, replace=True)
    manifest = read_json(workspace.path / "decompositions" / "tms-5-2" / "manifest.json")
    assert manifest["config"]["seed"] == 1


def test_an_unknown_toy_is_refused(tmp_path):
    with pytest.raises(UserError, match="tms-40-10-id"):
        decompose_toy(Workspace.create(tmp_path / "w"), "tms-6-2")


@pytest.mark.slow
def test_five_features_in_two_dimensions_are_recovered(tmp_path):
    found = decompose_toy(Workspace.create(tmp_path / "w"), "tms-5-2", TOYS["tms-5-2"])
    value = lambda name: found.figure(name).value
    assert value("embed/mmcs") >= 0.99 and value("embed/whole_cosine") >= 0.99
    assert 0.97 <= value("embed/length_ratio") <= 1.03
    assert found.matrices[0].n_live == 5 and found.matrices[1].n_live <= 5
    assert value("faithfulness_error") < 1e-4
    assert value("distance/stochastic") < 0.05 * value("distance/all_zero")
