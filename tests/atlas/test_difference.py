"""Model diffing: latent scaling against least squares, and planted features of one model, of both, and of the kinds
that mislead."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sparselex.activations.live import Reader
from sparselex.activations.source import Batch
from sparselex.atlas import diff
from sparselex.atlas.diff import add_test_rows, write_table
from sparselex.atlas.difference import diff_figures, directions, is_specific, labels
from sparselex.atlas.records import LATENTS
from sparselex.atlas.scaling import LatentScaling
from sparselex.base.errors import UserError
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.training.config import TrainConfig
from sparselex.training.train import train
from tests.support.bars import Bars
from tests.support.elsewhere import Elsewhere, moved

D = 24


def crosscoder(d_sae=40, parts=(D, D), seed=0, k=6, scales=None):
    config = TopKConfig(d_in=sum(parts), d_sae=d_sae, k=k, parts=parts)
    found = new_dictionary(config, torch.Generator().manual_seed(seed)).requires_grad_(False)
    found.W_dec.mul_(torch.rand(found.W_dec.shape, generator=torch.Generator().manual_seed(1)))
    found.b_dec.normal_(generator=torch.Generator().manual_seed(2))
    found.part_scales.copy_(torch.tensor(scales or [1.0] * len(parts)))
    return found


def scaling_of(dictionary, *batches):
    scaling = LatentScaling(directions(dictionary), dictionary.b_dec)
    for x in batches:
        codes = dictionary.encode_sparse(x)
        scaling.update(x, codes, dictionary.decode_sparse(codes))
    return scaling


def samples(n=300, width=2 * D, seed=3):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def slow(dictionary, x):
    """Factors of every latent by a least-squares solver in float64, one latent after another."""
    acts, scales = dictionary.encode(x).double().numpy(), dictionary.part_scales.double().numpy()
    rows = dictionary.W_dec.double().numpy().reshape(-1, 2, D) * scales[:, None]
    bias = dictionary.b_dec.double().numpy().reshape(2, D) * scales[:, None]
    data = x.double().numpy().reshape(-1, 2, D) * scales[:, None]
    written = np.einsum("nj,jmd->nmd", acts, rows)
    found = []
    for j in range(dictionary.d_sae):
        norms = np.linalg.norm(rows[j], axis=-1)
        own = int(norms[1] > norms[0])
        design = np.outer(acts[:, j], rows[j, own]).reshape(-1, 1)
        without = written - acts[:, j, None, None] * rows[j]
        errors = data - (without + bias)
        found.append(
            [
                np.linalg.lstsq(design, target[:, model].reshape(-1), rcond=None)[0][0] if acts[:, j].any() else np.nan
                for target in (errors, written)
                for model in (own, 1 - own)
            ]
        )
    return np.array(found)


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.5, 3.0)])
def test_factors_are_those_of_least_squares(scales):
    dictionary, x = crosscoder(scales=scales), samples()
    found = scaling_of(dictionary, x).finish()
    names = ("beta_error_own", "beta_error_other", "beta_reconstruction_own", "beta_reconstruction_other")
    expected = slow(dictionary, x)
    for name, column in zip(names, expected.T, strict=True):
        np.testing.assert_allclose(getattr(found, name), column, rtol=1e-4, atol=1e-5, err_msg=name)
    for nu, other, own in ((found.nu_error, 1, 0), (found.nu_reconstruction, 3, 2)):
        defined = expected[:, own] > 0
        np.testing.assert_allclose(nu[defined], (expected[:, other] / expected[:, own])[defined], rtol=1e-2, atol=1e-3)
        assert np.isnan(nu[~defined]).all()
    assert np.array_equal(found.n_active, (dictionary.encode(x) != 0).sum(0).numpy())


def test_two_batches_are_one_pass():
    dictionary, x = crosscoder(), samples()
    whole, both = scaling_of(dictionary, x), scaling_of(dictionary, x[:100], x[100:])
    assert both.n_tokens == whole.n_tokens == 300
    for one, other in zip(both.finish(), whole.finish(), strict=True):
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
        else:
            assert np.array_equal(one, other)


class Rows(Reader):
    """Test documents of 300 rows with a BOS and a token each, read 128 at a time; a reader's batches lie on the CPU."""

    def __init__(self):
        self.corpus, self.batch_rows = SimpleNamespace(n_ctx=2, row_ranges={"test": range(300)}), 128

    def batches(self, splits, *, most_rows):
        x = samples(min(300, most_rows))
        return (Batch(part, np.arange(len(part))) for part in x.split(self.batch_rows))


def test_a_dictionary_on_a_device_of_its_own_gives_the_same():
    here = scaling_of(crosscoder(scales=(0.5, 3.0)), *samples().split(128)).finish()
    with Elsewhere():
        dictionary = moved(crosscoder(scales=(0.5, 3.0)))
        scaling = LatentScaling(directions(dictionary), dictionary.b_dec)
        add_test_rows(scaling, Rows(), dictionary, 2000)
        there = scaling.finish()
    for name, one in here._asdict().items():
        assert np.array_equal(one, getattr(there, name), equal_nan=one.dtype.kind == "f"), name


@pytest.mark.parametrize(("asked", "read"), [(2000, 300), (200, 200)])
def test_the_bar_ends_where_the_rows_do(asked, read, monkeypatch):
    dictionary, bars = crosscoder(), Bars.watched(diff, monkeypatch)
    add_test_rows(LatentScaling(directions(dictionary), dictionary.b_dec), Rows(), dictionary, asked)
    assert bars == [[2 * read, 2 * read]]


def test_units_of_a_model_and_a_constant_change_nothing():
    """A model whose activations are ten times as long, and a constant that the bias takes up, leave every ratio as it
    was."""
    dictionary, x = crosscoder(), samples()
    other = crosscoder(scales=(1.0, 0.1))
    other.W_dec[:, D:] *= 10
    other.W_enc[D:] /= 10
    shift = torch.full((2 * D,), 3.0)
    other.b_dec[D:] *= 10
    other.b_dec += shift
    moved = torch.cat([x[:, :D], 10 * x[:, D:]], dim=-1) + shift
    before, after = scaling_of(dictionary, x).finish(), scaling_of(other, moved).finish()
    for name in ("relative_norm", "cosine", "nu_error", "nu_reconstruction"):
        np.testing.assert_allclose(getattr(before, name), getattr(after, name), rtol=2e-2, atol=1e-3, err_msg=name)
    assert np.array_equal(before.label, after.label)


def test_classes_by_relative_norm():
    values = np.array([0.0, 0.0999, 0.1, 0.39, 0.4, 0.6, 0.61, 0.9, 0.9001, 1.0, np.nan])
    only = ["only_a"] * 2, ["other"] * 2, ["shared"] * 2, ["other"] * 2, ["only_b"] * 2, ["other"]
    assert labels(values).tolist() == [name for part in only for name in part]


PLANTED = ("only_a", "only_b", "shared", "shrunk", "decoupled", "partner")
"""`shrunk` and `decoupled` are written as of model b alone, and both are in model a: unexplained, or written there by
`partner`."""


def planted(noise=0.02):
    """A crosscoder that reads six planted features exactly, its decoder wrong in the two ways that mislead; and its
    activations."""
    generator = torch.Generator().manual_seed(5)
    u = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q[:8]
    dictionary = new_dictionary(ReLUConfig(d_in=2 * D, d_sae=6, parts=(D, D))).requires_grad_(False)
    dictionary.W_dec.zero_()
    dictionary.W_enc.zero_()
    dictionary.b_enc.fill_(-0.1)
    dictionary.b_dec.zero_()
    read = {0: (0, u[0]), 1: (1, u[1]), 2: (1, u[2]), 3: (1, u[3]), 4: (1, u[4]), 5: (0, u[4])}
    write = {0: [(0, u[0])], 1: [(1, u[1])], 2: [(0, u[2]), (1, u[2])], 3: [(1, u[3])], 4: [(1, u[4])], 5: [(0, u[4])]}
    for latent, (site, direction) in read.items():
        dictionary.W_enc[site * D : (site + 1) * D, latent] = direction
    for latent, parts in write.items():
        for site, direction in parts:
            dictionary.W_dec[latent, site * D : (site + 1) * D] = direction
    f = (torch.rand(4000, 5, generator=generator) < 0.2) * (1 + torch.rand(4000, 5, generator=generator))
    in_a, in_b = torch.zeros(4000, D), torch.zeros(4000, D)
    for number, (a, b) in enumerate([(1, 0), (0, 1), (1, 1), (0.7, 1), (1, 1)]):
        in_a += a * f[:, number, None] * u[number]
        in_b += b * f[:, number, None] * u[number]
    x = torch.cat([in_a, in_b], dim=-1)
    return dictionary, x + noise * torch.randn(x.shape, generator=generator)


def test_planted_features_are_told_apart():
    dictionary, x = planted()
    found = scaling_of(dictionary, x).finish()
    by_name = {name: number for number, name in enumerate(PLANTED)}
    assert found.label.tolist() == ["only_a", "only_b", "shared", "only_b", "only_b", "only_a"]
    assert found.cosine[by_name["shared"]] == pytest.approx(1, abs=1e-5)
    for name in ("only_a", "only_b"):
        assert abs(found.nu_error[by_name[name]]) < 0.05 and abs(found.nu_reconstruction[by_name[name]]) < 0.05
    assert found.nu_error[by_name["shared"]] == pytest.approx(1, abs=0.05)
    # Dropped by the decoder, still in the model: seven tenths of it are in what is left unexplained.
    assert found.nu_error[by_name["shrunk"]] == pytest.approx(0.7, abs=0.07)
    assert abs(found.nu_reconstruction[by_name["shrunk"]]) < 0.05
    # Written by another latent: nothing is left unexplained, and the reconstruction has it all.
    assert abs(found.nu_error[by_name["decoupled"]]) < 0.1
    assert found.nu_reconstruction[by_name["decoupled"]] == pytest.approx(1, abs=0.1)
    assert is_specific(found).tolist() == [True, True, False, False, False, False]


class TwoModels:
    """A source of two models with planted features: six shared, six of a, six of b, six that are four tenths as strong
    in a as in b."""

    d_in, d_out, d = 64, None, 32
    kinds = np.repeat(["shared", "only_a", "only_b", "weak"], 6)

    def __init__(self):
        rows = torch.randn(24, self.d, generator=torch.Generator().manual_seed(0))
        self.directions = rows / rows.norm(dim=-1, keepdim=True)
        sizes = {"shared": (1, 1), "only_a": (1, 0), "only_b": (0, 1), "weak": (0.4, 1)}
        self.sizes = torch.tensor([sizes[kind] for kind in self.kinds])
        self._batch = 0

    def draw(self, number, n=500):
        generator = torch.Generator().manual_seed(number)
        active = torch.rand(n, 24, generator=generator) < 0.08
        f = active * (0.5 + torch.rand(n, 24, generator=generator))
        return torch.cat([(f * size) @ self.directions for size in self.sizes.T], dim=-1)

    def next_batch(self):
        self._batch += 1
        return Batch(self.draw(self._batch), np.arange(500))

    def state(self):
        return {"batch": self._batch}

    def load_state(self, state):
        self._batch = state["batch"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"kind": "relu", "l1": 5}, {"kind": "batchtopk", "k": 2}], ids=lambda s: s["kind"]
)
def test_a_trained_l1_crosscoder_drops_weak_features_and_is_found_out(tmp_path, settings):
    """The artefact itself, made by training: an L1 penalty writes weak features to one model alone, BatchTopK does not
    (the paper's result)."""
    source = TwoModels()
    values = {
        "dictionary": {"d_in": 64, "d_sae": 48, "parts": [32, 32], **settings},
        "n_tokens": 400_000,
        "batch_size": 500,
    }
    dictionary = train(source, TrainConfig.parse(values), tmp_path / "d", inputs={}).requires_grad_(False)
    found = scaling_of(dictionary, *(source.draw(1_000_000 + number) for number in range(20))).finish()
    rows = torch.nn.functional.normalize(directions(dictionary).rows, dim=-1)
    cosines = torch.stack([source.directions @ part.T for part in rows])[
        torch.from_numpy(found.own), :, torch.arange(48)
    ]
    best = cosines.T.max(dim=1)
    recovered = {
        kind: best.indices[(best.values > 0.95) & torch.from_numpy(source.kinds == kind)].numpy()
        for kind in set(source.kinds)
    }
    assert all(len(latents) >= 4 for latents in recovered.values())
    for kind in ("only_a", "only_b"):
        assert set(found.label[recovered[kind]]) == {kind} and is_specific(found)[recovered[kind]].all()
    assert (found.nu_error[recovered["shared"]] > 0.5).all()
    weak = recovered["weak"]
    assert set(found.label[weak]) == ({"only_b"} if settings["kind"] == "relu" else {"other"})
    assert not is_specific(found)[weak].any() and found.nu_error[weak] == pytest.approx(0.44, abs=0.08)


def test_figures_count_active_latents_by_class():
    dictionary, x = planted()
    wider = new_dictionary(ReLUConfig(d_in=2 * D, d_sae=8, parts=(D, D))).requires_grad_(False)
    for name in ("W_dec", "b_enc"):
        getattr(wider, name)[:6] = getattr(dictionary, name)
    wider.W_enc[:, :6] = dictionary.W_enc
    wider.b_enc[6:] = -1000
    found = scaling_of(wider, x).finish()
    figures = {figure.name: figure for figure in diff_figures(found, len(x))}
    shares = {name: figures[f"diff/{name}_share"].value for name in ("only_a", "only_b", "shared", "other")}
    assert shares == pytest.approx({"only_a": 2 / 6, "only_b": 3 / 6, "shared": 1 / 6, "other": 0})
    assert figures["diff/only_b_specific_share"].value == pytest.approx(1 / 3)
    assert figures["diff/only_b_specific_share"].n == 3 and figures["diff/only_a_specific_share"].value == 0.5
    assert figures["diff/only_b_share"].ci_low < 0.5 < figures["diff/only_b_share"].ci_high
    assert figures["diff/shared_cosine"].value == pytest.approx(1, abs=1e-5)
    silent = diff_figures(scaling_of(wider, -x.abs() * 0).finish(), len(x))
    assert {figure.failure for figure in silent} == {"no latent of this kind was active"}


def test_the_table_has_every_latent(tmp_path):
    dictionary, x = planted()
    found = scaling_of(dictionary, x).finish()
    write_table(found, tmp_path / LATENTS)
    rows = pq.read_table(tmp_path / LATENTS).to_pylist()
    assert [row["latent"] for row in rows] == list(range(6)) and [row["class"] for row in rows] == found.label.tolist()
    assert [row["specific"] for row in rows] == is_specific(found).tolist()
    assert rows[3]["nu_error"] == pytest.approx(float(found.nu_error[3])) and rows[0]["own"] == "a"
    write_table(scaling_of(dictionary, torch.zeros(5, 2 * D)).finish(), tmp_path / LATENTS)
    assert {(row["nu_error"], row["specific"]) for row in pq.read_table(tmp_path / LATENTS).to_pylist()} == {
        (None, None)
    }


@pytest.mark.parametrize(
    ("dictionary", "words"),
    [
        (lambda: new_dictionary(TopKConfig(d_in=2 * D, d_sae=8, k=2)), "writes 1 site"),
        (lambda: crosscoder(parts=(D, D, D)), "writes 3 sites"),
        (lambda: crosscoder(parts=(D, D - 4)), "widths 24 and 20"),
    ],
)
def test_what_cannot_be_compared_is_refused(dictionary, words):
    with pytest.raises(UserError, match=words):
        directions(dictionary())
