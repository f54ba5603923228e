"""Components of a matrix as a dictionary: what they reconstruct, on disk and off it."""

import pytest
import torch

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.staging import stage
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.kinds import DICTIONARIES, kinds
from sparselex.dictionaries.types.components import ComponentsConfig, ComponentsDictionary
from sparselex.parameters.components import Components
from sparselex.parameters.gates import importance


class Nothing(Config):
    """No settings."""


@pytest.fixture
def made():
    """Components of a matrix, the dictionary of them, and inputs."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=generator)
    parts = Components(weight, torch.randn(9, 4, generator=generator), 3, generator)
    with torch.no_grad():
        parts.gate_out_bias.copy_(torch.linspace(-0.4, 1.0, 9))
    bias = torch.randn(6, generator=generator)
    return parts, bias, ComponentsDictionary.of(parts.state_dict(), bias), torch.randn(50, 4, generator=generator)


def test_the_reconstruction_is_the_matrix_masked_by_importances(made):
    parts, bias, dictionary, x = made
    g = importance(parts.gates(parts.inner(x)))
    g = torch.where(g > 0.1, g, 0.0)
    assert 0 < (g == 0).float().mean() < 1
    assert torch.allclose(dictionary(x), parts.masked(x, g) + bias, atol=1e-5)
    assert torch.allclose(dictionary.importances(x), g)
    acts = dictionary.encode(x)
    assert torch.equal(acts != 0, g > 0)
    assert torch.allclose(acts.abs(), g * parts.inner(x).abs() * parts.U.norm(dim=-1), rtol=1e-4, atol=1e-6)
    assert torch.equal(acts.sign(), (g * parts.inner(x)).sign()) and dictionary.signed


def test_it_comes_back_from_disk(made, tmp_path):
    dictionary, x = made[2], made[3]
    with stage(tmp_path / "d", "dictionary", Nothing(), {}) as staging:
        write_dictionary(dictionary, staging.folder)
        staging.finish()
    again = load_dictionary(tmp_path / "d")
    assert again.config == dictionary.config and torch.equal(again.encode(x), dictionary.encode(x))
    assert torch.equal(again(x), dictionary(x))


def test_scales_are_folded_in():
    config = ComponentsConfig(d_in=4, d_sae=7, d_out=5)
    draws = lambda: torch.Generator().manual_seed(1)
    scaled, folded, x = ComponentsDictionary(config, draws()), ComponentsDictionary(config, draws()), torch.randn(20, 4)
    for one in (scaled, folded):
        one.W_dec.data *= 3.0
        one.b_dec.data += 1.0
    folded.fold([2.0], [0.5])
    assert torch.allclose(folded(x), scaled(2.0 * x) / 0.5, atol=1e-5)
    assert torch.allclose(folded.W_dec.norm(dim=-1), torch.ones(7))


def test_it_is_read_and_nobody_chooses_to_train_it():
    assert "components" in kinds() and "components" not in DICTIONARIES.names()
    with pytest.raises(UserError, match="sparselex decompose"):
        ComponentsConfig.fields_at((4,), (5,), 2)
    with pytest.raises(ValueError, match="kind=components"):
        from sparselex.training.config import TrainConfig

        TrainConfig(dictionary=ComponentsConfig(d_in=4, d_sae=7, d_out=5), n_tokens=100)
