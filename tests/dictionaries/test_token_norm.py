"""Dictionaries of tokens that are each normalised by themselves: raw activations in and out, codes in raw units."""

import json

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.staging import stage
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.token_norm import normalised
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.testing import check_dictionary
from tests.support.dictionaries import CONFIGS, make

KINDS = [kind for kind, config in CONFIGS.items() if "coder" not in kind and "token_norm" in type(config).model_fields]


def raw_tokens(n=50, d=12):
    """Tokens of very different sizes and means, one of them constant and one zero."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(n, d, generator=generator) * torch.logspace(-1, 2, n)[:, None]
    x += 20 * torch.randn(n, 1, generator=generator)
    x[3], x[4] = 2.0, 0.0
    return x


def by_hand(x, how):
    """Each token alone: normalised, its size, what was subtracted."""
    rows = []
    for token in x.double():
        mean = torch.zeros((), dtype=torch.float64) if how == "length" else token.mean()
        match how:
            case "layer":
                size = token.std()
                unit = (token - mean) / (size + 1e-5)
            case "length":
                size = token.norm() / len(token) ** 0.5
                unit = token / size.clamp_min(1e-300)
            case "mean":
                size, unit = torch.ones((), dtype=torch.float64), token - mean
        rows.append((unit, size, mean))
    units, sizes, means = (torch.stack(part).float() for part in zip(*rows, strict=True))
    return units, sizes[:, None], means[:, None]


def normalising(kind, how):
    """A dictionary with nothing left at its start, and the same one that knows of no normalisation; both folded."""
    plain = make(kind)
    found = new_dictionary(plain.config.model_copy(update={"token_norm": how}))
    found.load_state_dict(plain.state_dict())
    for dictionary in (plain, found):
        dictionary.fold([1.6], [1.6])
    return plain.requires_grad_(False), found


@pytest.mark.parametrize("how", ["layer", "length", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_reconstructions_are_those_of_the_normalised_token_in_raw_units(kind, how, tmp_path):
    plain, dictionary = normalising(kind, how)
    check_dictionary(dictionary)
    x = raw_tokens()
    units, sizes, means = by_hand(x, how)
    acts = plain.encode(units) * sizes
    dictionary.requires_grad_(False)
    torch.testing.assert_close(dictionary.encode(x), acts, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(dictionary.encode_sparse(x).dense(), dictionary.encode(x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(dictionary(x), plain(units) * sizes + means, rtol=1e-3, atol=1e-2)
    shift = dictionary.reconstruct(x, dictionary.encode_sparse(x)) - acts @ dictionary.W_dec
    torch.testing.assert_close(shift, sizes * plain.b_dec + means, rtol=1e-3, atol=1e-2)
    with stage(tmp_path / "d", "dictionary", dictionary.config, {}) as staging:
        write_dictionary(dictionary, staging.folder)
        staging.finish()
    loaded = load_dictionary(tmp_path / "d")
    assert loaded.config.token_norm == how and torch.equal(loaded(x), dictionary(x))


@pytest.mark.parametrize("how", ["layer", "length"])
def test_tokens_without_spread_or_length_are_finite(how):
    x = torch.stack([torch.zeros(8), torch.full((8,), 3.0), torch.arange(8.0)]).requires_grad_()
    token = normalised(x, how)
    (token.x.sum() + token.size.sum()).backward()
    assert token.x.isfinite().all() and x.grad.isfinite().all() and not token.x[0].any()


def test_what_has_no_token_to_put_back_is_refused():
    for values in ({"parts": (5, 7)}, {"d_out": 12}):
        with pytest.raises(UserError, match="is put back into what it was taken from"):
            TopKConfig.parse({"d_in": 12, "d_sae": 40, "k": 5, "token_norm": "layer", **values})


class DoublyOpen(EncoderDictionary):
    """A type of another package, which says of a normalised token how it is coded and nothing else."""

    def code(self, x):
        return self.pre_acts(x).relu() * 2

    def training_codes(self, x, *, gradients="auto"):
        return Codes.from_dense(self.code(x))


class NoWay(EncoderDictionary):
    """One that has forgotten to say how it codes."""

    def training_codes(self, x, *, gradients="auto"):
        return self.encode_sparse(x)


def test_a_type_without_a_way_to_code_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract method '?code"):
        NoWay(ReLUConfig(d_in=12, d_sae=40))


@pytest.mark.parametrize("how", ["none", "layer"])
def test_whatever_a_type_codes_is_normalised_before(how):
    config = ReLUConfig(d_in=12, d_sae=40, token_norm=how)
    dictionary = DoublyOpen(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    dictionary.fold([1.0], [1.0])
    x = raw_tokens()
    token = normalised(x, how)
    torch.testing.assert_close(dictionary.encode(x), 2 * dictionary.pre_acts(token.x).relu() * token.size)
    check_dictionary(dictionary)


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "gated"])
@pytest.mark.parametrize("how", ["layer", "length"])
def test_saelens_is_told_of_it(kind, how, tmp_path):
    _, dictionary = normalising(kind, how)
    x = raw_tokens()
    export_dictionary(dictionary.requires_grad_(False), tmp_path / "d", "saelens")
    cfg = json.loads((tmp_path / "d" / "cfg.json").read_text())
    assert cfg["normalize_activations"] == {"layer": "layer_norm", "length": "constant_norm_rescale"}[how]
    found = import_dictionary(tmp_path / "d").dictionary
    assert found.config.token_norm == how
    torch.testing.assert_close(found(x), dictionary(x), rtol=1e-4, atol=1e-3)
    if kind == "topk":
        with pytest.raises(UserError, match="normalises no token"):
            export_dictionary(dictionary, tmp_path / "e", "sparsify")
