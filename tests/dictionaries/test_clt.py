"""Cross-layer transcoders against their formulas written out, and on a planted network whose features write to later
layers."""

import itertools

import numpy as np
import pytest
import torch

from sparselex.activations.source import Batch
from sparselex.base.errors import UserError
from sparselex.base.seeds import derive
from sparselex.base.sites import Sites
from sparselex.base.staging import stage
from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.types.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.testing import check_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

IN, OUT, N = (5, 3, 4), (4, 6, 2), 14
SIZE = {"d_in": 12, "d_out": 12, "d_sae": 3 * N, "layers_in": IN, "layers_out": OUT}


def make(**options):
    """Three layers with nothing left at its initial zero or one."""
    generator = torch.Generator().manual_seed(1)
    dictionary = CrossLayerTranscoder(CrossLayerConfig(**{**SIZE, "k": 5} | options), generator)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        dictionary.part_scales.copy_(torch.tensor([0.5, 2.0, 1.3]))
        dictionary.threshold.fill_(1.5)
    return dictionary


def inputs(n=64):
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(2))


def blocks_of(dictionary):
    """`(l, m, W_dec[l -> m])` for each layer read and each site written, as columns of what is stored."""
    for layer in range(3):
        start = 0
        for site in range(layer, 3):
            yield layer, site, dictionary.W_write[layer][:, start : start + OUT[site]]
            start += OUT[site]


def written_out(dictionary, x, keep):
    """Activations and reconstructions layer by layer and site by site; `keep` decides by the contributions of all
    latents."""
    parts, biases = x.split(IN, dim=-1), dictionary.b_enc.split(N)
    pre = [part @ W + b for part, W, b in zip(parts, dictionary.W_enc, biases, strict=True)]
    sizes = [torch.zeros(N, dtype=x.dtype) for _ in range(3)]
    for layer, site, rows in blocks_of(dictionary):
        sizes[layer] = sizes[layer] + rows.norm(dim=-1) * dictionary.part_scales[site]
    kept = keep(torch.cat([p * s for p, s in zip(pre, sizes, strict=True)], dim=-1).detach())
    acts = torch.where(kept, torch.cat(pre, dim=-1), 0)
    sites = list(dictionary.b_dec.expand(len(x), -1).split(OUT, dim=-1))
    for layer, site, rows in blocks_of(dictionary):
        sites[site] = sites[site] + acts[:, layer * N : (layer + 1) * N] @ rows
    return acts, torch.cat(sites, dim=-1)


def largest(k):
    return lambda scores: (scores >= scores.flatten().topk(k * len(scores)).values[-1]) & (scores > 0)


@pytest.mark.parametrize("selection", ["float32", "bfloat16"])
@pytest.mark.parametrize("gradients", ["sparse", "dense", "auto"])
def test_training_equals_the_formulas_written_out(gradients, selection):
    dictionary, x = make(selection=selection).double(), inputs().double()
    target = torch.randn(64, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def gradients_of(acts, x_hat):
        dictionary.zero_grad()
        ((x_hat - target).square().sum() + 0.1 * acts.square().sum()).backward()
        return {name: parameter.grad.clone() for name, parameter in dictionary.named_parameters()}

    codes = dictionary.training_codes(x, gradients=gradients)
    x_hat = dictionary.training_decode(codes, gradients=gradients)
    found = gradients_of(codes.values, x_hat)
    acts, expected = written_out(dictionary, x, largest(5))
    assert (acts > 0).sum(-1).unique().numel() > 3  # k is met on average only
    torch.testing.assert_close(codes.dense(), acts)
    torch.testing.assert_close(x_hat, expected)
    for name, wanted in gradients_of(acts, expected).items():
        assert wanted.abs().max() > 0, name
        torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=1e-9)


def test_inference_equals_the_formulas_written_out():
    dictionary, x = make().double(), inputs().double()
    check_dictionary(make())
    acts, expected = written_out(dictionary, x, lambda scores: scores > dictionary.threshold)
    assert 0 < (acts > 0).double().mean() < 0.5
    torch.testing.assert_close(dictionary.encode(x), acts)
    torch.testing.assert_close(dictionary.encode_sparse(x).dense(), acts)
    torch.testing.assert_close(dictionary(x), expected)
    torch.testing.assert_close(acts @ dictionary.W_dec + dictionary.b_dec, expected)


@pytest.mark.parametrize("k_aux", [2, 100])
@pytest.mark.parametrize("dead", [[0, 3, 20, 27, 41], [14, 15], []])
def test_dead_latents_reconstruct_with_gradients_of_their_own(dead, k_aux):
    dictionary, x, dead = make().double(), inputs().double(), torch.tensor(dead, dtype=torch.int64)
    found = dictionary.reconstruct_from_dead(x, dead, k_aux)
    pre = (x @ torch.block_diag(*dictionary.W_enc) + dictionary.b_enc)[:, dead]
    ranks = pre.argsort(-1, descending=True).argsort(-1)
    acts = torch.where((ranks < k_aux) & (pre > 0), pre, 0)
    torch.testing.assert_close(found, acts @ dictionary.W_dec[dead])
    if len(dead):
        expected = torch.autograd.grad((acts @ dictionary.W_dec[dead]).square().sum(), dictionary.b_enc)[0]
        gradient = torch.autograd.grad(found.square().sum(), [dictionary.b_enc, dictionary.b_dec], allow_unused=True)
        torch.testing.assert_close(gradient[0], expected)
        assert gradient[1] is None and set(gradient[0].nonzero().view(-1).tolist()) <= set(dead.tolist())


def test_a_layer_is_seen_by_no_earlier_site():
    dictionary, x = make(), inputs()
    moved = x.clone()
    moved[:, 5:8] += 1
    change = (dictionary(moved) - dictionary(x)).abs().amax(0)
    assert (change[:4] == 0).all() and (change[4:10] > 0).all() and (change[10:] > 0).all()
    assert (dictionary.W_dec[N:, :4] == 0).all() and (dictionary.W_dec[2 * N :, :10] == 0).all()


@pytest.mark.parametrize("selection", ["float32", "bfloat16"])
def test_blocks_of_a_batch_choose_what_the_whole_chooses(selection, monkeypatch):
    found = []
    monkeypatch.setattr("sparselex.dictionaries.sparse.products._FEWEST_LATENTS", 64)
    for size in (2**21, 64 * 5, 1):
        monkeypatch.setattr("sparselex.dictionaries.sparse.products._BLOCK_SCORES", size)
        dictionary = make(selection=selection).double()
        for bar in (0.0, 1.5, 1e-9, 1e6):
            dictionary.threshold.fill_(bar)
            found.append(dictionary.training_codes(inputs().double()).dense())
    assert all(torch.equal(found[0] > 0, other > 0) for other in found) and (found[0] > 0).sum() == 5 * 64


def test_rounded_gradients_are_near_and_really_rounded():
    found = {}
    for gradients in ("sparse", "bfloat16"):
        dictionary = make()
        codes = dictionary.training_codes(inputs(), gradients=gradients)
        dictionary.training_decode(codes, gradients=gradients).square().sum().backward()
        found[gradients] = {name: parameter.grad for name, parameter in dictionary.named_parameters()}
    for name, exact in found["sparse"].items():
        assert (found["bfloat16"][name] - exact).norm() < 0.02 * exact.norm()
        assert not torch.equal(found["bfloat16"][name], exact)


def test_blocks_of_codes_equal_slow_ones():
    dense = torch.randn(7, 12, generator=torch.Generator().manual_seed(0)).relu()
    dense[3] = 0
    dense[:, 4:8] = 0
    codes = Codes.from_dense(dense)
    shuffled = Codes(codes.indptr, codes.indices.clone(), codes.values.clone(), 12)
    for start, end in itertools.pairwise(codes.indptr.tolist()):  # latents of a token in any order
        shuffled.indices[start:end] = codes.indices[start:end].flip(0)
        shuffled.values[start:end] = codes.values[start:end].flip(0)
    for some in (codes, shuffled):
        blocks = some.blocks(3)
        twice = some.with_values(2 * some.values)
        assert twice.blocks(3) is blocks and not any(part.values.any() for part in blocks.places)  # cut once, for all
        for number, (part, other) in enumerate(zip(blocks.cut(some.values), blocks.cut(twice.values), strict=True)):
            assert torch.equal(part.dense(), dense[:, 4 * number : 4 * number + 4]) and part.d_sae == 4
            assert torch.equal(other.dense(), 2 * part.dense())
        assert torch.equal(blocks.joined([part.values for part in blocks.cut(some.values)]), some.values)
        assert torch.equal(Codes.side_by_side(blocks.cut(some.values)).dense(), dense)
    none = Codes.from_dense(dense[:0])
    assert len(none.blocks(3).places) == 3 and len(Codes.side_by_side(none.blocks(3).places)) == 0


def test_folding_keeps_reconstructions_and_gives_lengths_of_contributions():
    dictionary, x = make(), inputs()
    x_scales, target_scales = [2.5, 0.4, 1.5], [0.7, 3.0, 0.2]
    scaled = x * torch.tensor(x_scales).repeat_interleave(torch.tensor(IN))
    with torch.no_grad():
        dictionary.part_scales.fill_(1)
        expected = dictionary(scaled) / torch.tensor(target_scales).repeat_interleave(torch.tensor(OUT))
        contributions, norms = dictionary.encode(scaled) * dictionary.row_sizes(), dictionary.part_norms()
        shares = norms / dictionary.row_sizes()
        dictionary.fold(x_scales, target_scales)
        torch.testing.assert_close(dictionary(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dictionary.encode(x), contributions, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dictionary.part_norms(), shares)
    assert (norms[0, N:] == 0).all() and (norms[1, : 2 * N] > 0).all() and (norms[1, 2 * N :] == 0).all()


SITES = Sites.at(
    "blocks.0.hook_mlp_in+blocks.1.hook_mlp_in+blocks.2.hook_mlp_in",
    "blocks.0.hook_mlp_out+blocks.1.hook_mlp_out+blocks.2.hook_mlp_out",
)


def test_files_hold_all_layers_and_no_other_project_can_misread_them(tmp_path):
    dictionary = make()
    dictionary.fold([1.7, 0.3, 1.0], [0.2, 1.0, 5.0])
    with stage(tmp_path / "d", "dictionary", dictionary.config, {}) as staging:
        write_dictionary(dictionary, staging.folder, model_name="m", sites=SITES)
        staging.finish()
    loaded = load_dictionary(tmp_path / "d")
    assert isinstance(loaded, CrossLayerTranscoder) and loaded.config == dictionary.config
    assert loaded.state_dict().keys() == dictionary.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in dictionary.state_dict().items())
    assert torch.equal(loaded(inputs()), dictionary(inputs()))
    assert not (tmp_path / "d" / "cfg.json").exists()
    for layout in ("saelens", "sparsify"):
        with pytest.raises(UserError, match="CrossLayerTranscoder has no place"):
            export_dictionary(loaded, tmp_path / layout, layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers_in": (12,), "layers_out": (12,)}, "two or more"),
        ({"layers_out": (6, 6)}, "as many sites"),
        ({"layers_in": (5, 3, 5)}, "sum to d_in=12"),
        ({"layers_out": (4, 6, 1)}, "to d_out=12"),
        ({"d_sae": 40}, "evenly among 3 layers"),
        ({"k": 43}, "lower k or raise d_sae"),
    ],
)
def test_impossible_configurations(change, message):
    with pytest.raises(UserError, match=message):
        CrossLayerConfig.parse(SIZE | {"k": 5} | change)


WIDTHS, N_FEATURES = (24, 20, 28), 20


class Network:
    """Three layers with 20 features each. What appears at layer l is there in all later inputs, and each later site
    gets a part of it.

    Sites differ a hundredfold in scale.
    """

    d_in = d_out = sum(WIDTHS)
    dies_at = -1

    def __init__(self, batch_size=1000):
        self.batch_size, self.number = batch_size, 0
        self.reads, self.writes = (self._rows(name) for name in ("reads", "writes"))

    def _rows(self, name):
        rows = torch.randn(3 * N_FEATURES, self.d_in, generator=torch.Generator().manual_seed(derive(0, name)))
        sites = [part / part.norm(dim=-1, keepdim=True) for part in rows.split(WIDTHS, dim=-1)]
        for site, part in enumerate(sites):
            part[(site + 1) * N_FEATURES :] = 0
            part *= (0.1, 1.0, 10.0)[site]
        return torch.cat(sites, dim=-1)

    def draw(self, number):
        generator = torch.Generator().manual_seed(derive(0, "network", number))
        active = torch.rand(self.batch_size, 3 * N_FEATURES, generator=generator) < 1 / N_FEATURES
        acts = active * (0.5 + torch.rand(active.shape, generator=generator))
        return Batch(acts @ self.reads, np.arange(self.batch_size), acts @ self.writes)

    def next_batch(self):
        if self.number == self.dies_at:
            raise KeyboardInterrupt
        batch = self.draw(self.number)
        self.number += 1
        return batch

    def state(self):
        return {"number": self.number}

    def load_state(self, state):
        self.number = state["number"]


def config(n_tokens=400_000, **values):
    size = {"d_in": Network.d_in, "d_out": Network.d_out, "layers_in": WIDTHS, "layers_out": WIDTHS}
    return TrainConfig.parse(
        {
            "dictionary": {"kind": "clt", "d_sae": 96, "k": 3, **size, **values},
            "n_tokens": n_tokens,
            "batch_size": 1000,
            "lr": 3e-3,
            "dead_after_tokens": 50_000,
            "checkpoint_tokens": 7_000,
        }
    )


@pytest.mark.slow
def test_planted_features_are_found_at_their_layer_with_all_they_write(tmp_path):
    network = Network()
    dictionary = train(network, config(d_sae=192), tmp_path / "d", inputs={})
    units = dictionary.part_scales.repeat_interleave(torch.tensor(WIDTHS))
    cosines = torch.nn.functional.cosine_similarity(
        (network.writes * units)[:, None], (dictionary.W_dec * units)[None], dim=-1
    )
    best = cosines.max(-1)
    layers = torch.arange(3).repeat_interleave(N_FEATURES)
    assert float(best.values.mean()) > 0.95
    assert float((best.indices // 64 == layers).double().mean()) > 0.95
    fresh = network.draw(9000)
    pairs = zip(*(values.split(WIDTHS, dim=-1) for values in (dictionary(fresh.x), fresh.target)), strict=True)
    left = [float((x_hat - y).square().sum() / (y - y.mean(0)).square().sum()) for x_hat, y in pairs]
    assert max(left) < 0.2, left  # a token has three features on average, and seldom six


def test_training_resumes_exactly(tmp_path):
    class Dying(Network):
        dies_at = 17

    chosen = config(n_tokens=30_000)
    train(Network(), chosen, tmp_path / "whole", inputs={})
    with pytest.raises(KeyboardInterrupt):
        train(Dying(), chosen, tmp_path / "again", inputs={})
    train(Network(), chosen, tmp_path / "again", inputs={})
    for name in ("sae_weights.safetensors", "log.jsonl", "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"k": 4}, {"threshold_rate": 0.5}, {"selection": "bfloat16"}, {"d_sae": 99}])
def test_each_option_changes_something(change, tmp_path):
    found = [
        train(Network(), config(n_tokens=10_000, **values), tmp_path / name, inputs={}).state_dict()
        for name, values in (("plain", {}), ("changed", change))
    ]
    assert any(not torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_auxk_takes_half_of_the_widest_layer_by_default(tmp_path):
    """Not of all layers together; with many dead latents the number shows in the weights."""
    chosen = config(n_tokens=15_000, d_sae=192).model_copy(update={"dead_after_tokens": 3_000, "lr": 1e-2})
    found = {
        k_aux: train(Network(), chosen.model_copy(update={"k_aux": k_aux}), tmp_path / str(k_aux), inputs={})
        for k_aux in (None, max(WIDTHS) // 2, sum(WIDTHS) // 2)
    }
    by_default, of_one, of_all = (dictionary.W_dec for dictionary in found.values())
    assert torch.equal(by_default, of_one) and not torch.equal(by_default, of_all)
