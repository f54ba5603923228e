"""Dictionaries: the conformance suite, exact gradients, exact files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.testing import check_dictionary
from tests.support.dictionaries import CONFIGS, SIZE, inputs, make


def test_every_registered_type_is_tested():
    assert set(DICTIONARIES.names()) == {config.kind for config in CONFIGS.values()}


@pytest.mark.parametrize("kind", CONFIGS)
def test_conformance(kind):
    check_dictionary(make(kind))


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_weights_of_a_configuration_are_about_those_of_its_dictionary(kind):
    matrices = [value for name, value in make(kind).named_parameters() if value.ndim > 1]
    n = sum(value.numel() for value in matrices)
    assert n / 2 <= CONFIGS[kind].n_weights <= 2 * n  # skips are not counted, and encoders that there are not


def test_a_dictionary_that_no_machine_holds():
    with pytest.raises(UserError, match="which no machine holds; lower the expansion"):
        TopKConfig.parse({"d_in": 512, "d_sae": 512_000_000})


@pytest.mark.parametrize("k", [1, 12])
def test_conformance_of_baselines(k):
    x = inputs(200).double()
    covariance = (x - x.mean(0)).T @ (x - x.mean(0)) / 200
    check_dictionary(neurons(x.mean(0).float(), k))
    pca = principal_components(x.mean(0).float(), covariance, k)
    check_dictionary(pca)
    if k == 12:
        torch.testing.assert_close(pca(x.float()), x.float(), rtol=1e-4, atol=1e-4)


def test_the_conformance_suite_can_fail():
    class Wrong(type(make("topk"))):
        def encode_sparse(self, x):
            codes = super().encode_sparse(x)
            return codes.with_values(codes.values * 1.01)

    wrong = Wrong(CONFIGS["topk"], torch.Generator().manual_seed(0))
    wrong.encode = make("topk").encode
    with pytest.raises(AssertionError, match="broken promise"):
        check_dictionary(wrong)


def dense_reference(dictionary, x, target, progress):
    """Activations and penalty of a training batch, written densely for autograd from the papers' formulas.

    Which latents are kept is decided without gradient; jumps have a straight-through slope.
    """
    config, n = dictionary.config, len(x)
    if config.kind == "matching_pursuit":
        return pursuit_reference(dictionary, x)[0], x.new_zeros(())
    norms = sum(part.norm(dim=-1) for part in dictionary.W_dec.split(dictionary.parts_out, dim=-1))
    W_enc = torch.block_diag(*dictionary.W_enc) if config.kind == "clt" else dictionary.W_enc
    z = (x if config.d_out else x - dictionary.b_dec) @ W_enc
    pre = z + dictionary.b_enc
    scores = (pre * norms).detach()
    none = pre.new_zeros(())
    match config.kind:
        case "relu":
            sizes = pre.relu() * (norms if config.convention == "2024" else 1)
            return pre.relu(), 2.0 * sizes.sum() / n
        case "panneal":
            sizes = (pre.relu() * norms)[pre > 0]
            powers = (sizes + 1e-3) ** (1 - 0.8 * 0.4)  # at 0.5 of training 3/8 of the fall: the fourth of ten updates
            return pre.relu(), 2.0 * (sizes.sum() / powers.sum()).detach() * powers.sum() / n
        case "gated":
            acts = torch.where(pre > 0, (dictionary.r_mag.exp() * z + dictionary.b_mag).relu(), 0)
            x_hat = pre.relu() @ dictionary.W_dec.detach() + dictionary.b_dec.detach()
            return acts, (2.0 * (pre.relu() * norms.detach()).sum() + (x_hat - target.detach()).square().sum()) / n
        case "jumprelu":
            moving = pre if config.gradient == "everything" else pre.detach()
            distance = moving * norms.detach() - dictionary.threshold
            ramp = (distance / config.bandwidth + 0.5).clamp(0, 1)
            opened = (distance > 0).double() + ramp - ramp.detach()
            if config.sparsity == "tanh":
                return pre * opened, (4 * pre * opened * norms).tanh().sum() / n
            l0 = opened.sum() / n
            return pre * opened, 3.0 * l0 if config.sparsity == "l0" else 12 * (l0 / 5 - 1) ** 2
        case "topk" | "archetypal":
            mask = (scores >= scores.topk(5, dim=1).values[:, -1:]) & (scores > 0)
            return torch.where(mask, pre, 0), none
        case "abstopk":
            return torch.where(scores.abs() >= scores.abs().topk(5, dim=1).values[:, -1:], pre, 0), none
        case "batchtopk" | "matryoshka" | "clt":
            acts = torch.where(scores >= scores.flatten().topk(5 * n).values[-1], pre, 0)
            ends = [8, 20] if config.kind == "matryoshka" else []
            parts = [acts[:, :end] @ dictionary.W_dec[:end] + dictionary.b_dec - target for end in ends]
            return acts, sum((part.square().sum() / n for part in parts), none)


def pursuit_reference(dictionary, x):
    """Activations by matching pursuit, token by token and step by step, for autograd; and how many steps were taken."""
    config, W, acts, n_steps = dictionary.config, dictionary.W_dec, [], 0
    gains = 1 / W.norm(dim=-1) if config.step == "projection" else dictionary.gains
    for residual in x - dictionary.b_dec:
        act, least = torch.zeros(len(W), dtype=x.dtype), config.stop_below * residual.norm()
        for _ in range(config.k):
            products = W @ residual * gains
            best = products.argmax()
            if products[best] <= least:
                break
            value, repeated = products[best] * gains[best], act[best] != 0
            act = act + value * torch.eye(len(W), dtype=x.dtype)[best]
            residual = residual - value * W[best]
            n_steps += 1
            if residual.norm() < (0 if dictionary.left is None else dictionary.left):
                break
            if config.stop_at_repeat and repeated:
                break
        acts.append(act)
    return torch.stack(acts), n_steps


@pytest.mark.parametrize("gradients", ["sparse", "dense", "auto"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_gradients_of_every_parameter_equal_dense_float64_autograd(kind, gradients):
    dictionary, x = make(kind).double(), inputs().double()
    width = dictionary.d_out
    target = torch.randn(32, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(acts, x_hat, penalty):
        return (x_hat - target).square().sum() + (acts**2).sum() * 0.1 + penalty

    codes = dictionary.training_codes(x, gradients=gradients)
    past = dictionary.bypass(x)
    past = 0 if past is None else past
    x_hat = dictionary.training_decode(codes, gradients=gradients) + past
    loss(codes.values, x_hat, dictionary.penalty(codes, target - past, 0.5)).backward()
    found = {name: p.grad.clone() for name, p in dictionary.named_parameters()}
    dictionary.zero_grad()
    past = x @ dictionary.W_skip.T if hasattr(dictionary, "W_skip") else 0
    acts, penalty = dense_reference(dictionary, x, target - past, 0.5)
    torch.testing.assert_close(codes.dense(), acts)
    loss(acts, acts @ dictionary.W_dec + dictionary.b_dec + past, penalty).backward()
    for name, parameter in dictionary.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_batchtopk_keeps_exactly_k_per_token_on_average_also_among_equals():
    dictionary, x = make("batchtopk"), inputs()
    for bar in (0.0, 0.5, 100.0):  # no idea of the threshold, a good one, one far too high
        dictionary.threshold.fill_(bar)
        assert len(dictionary.training_codes(x).values) == 5 * 32
    doubled = torch.cat([x[:1]] * 32)
    assert len(dictionary.training_codes(doubled).values) == 5 * 32


def test_batchtopk_threshold_follows_the_smallest_kept_contribution():
    dictionary, x = make("batchtopk"), inputs()
    for _ in range(200):
        codes = dictionary.training_codes(x)
    smallest = (codes.values * dictionary.W_dec.norm(dim=-1)[codes.indices]).min()
    assert abs(float(dictionary.threshold) - float(smallest.detach())) < 1e-4
    l0 = (dictionary.encode(x) > 0).sum() / 32
    assert abs(float(l0) - 5) <= 5 / 32 + 1e-6


@pytest.mark.parametrize("kind", CONFIGS)
def test_folding_changes_no_reconstruction(kind):
    """Trained on scaled sites, used on raw ones; activations become lengths of contributions, in raw units where there
    is one site."""
    dictionary, x = make(kind), inputs()
    x_scales = [2.5, 0.4, 1.5][: len(dictionary.parts_in)]
    target_scales = x_scales if dictionary.is_autoencoder else [0.7, 3.0][: len(dictionary.parts_out)]
    scaled = x * spread(x_scales, dictionary.parts_in)
    unit = 1.0 if len(dictionary.parts_in) > 1 else target_scales[0]
    with torch.no_grad():
        expected = dictionary(scaled) / spread(target_scales, dictionary.parts_out)
        contributions = dictionary.encode(scaled) * dictionary.row_sizes() / unit
        sizes = dictionary.part_norms() / dictionary.row_sizes()
        dictionary.fold(x_scales, target_scales)
        torch.testing.assert_close(dictionary(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dictionary.encode(x), contributions, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dictionary.part_norms(), sizes)
    torch.testing.assert_close(dictionary.row_sizes(), torch.ones(40))


def spread(scales, parts):
    return torch.tensor([scale for scale, width in zip(scales, parts, strict=True) for _ in range(width)])


def test_what_cannot_be_a_transcoder_or_crosscoder_is_refused():
    for values, message in (
        ({"skip": True}, "needs a target of its own"),
        ({"parts": (5, 6)}, "sum to d_in=12"),
        ({"parts": (12,)}, "two or more widths"),
        ({"parts": (5, 7), "d_out": 9}, "without d_out"),
    ):
        with pytest.raises(UserError, match=message):
            TopKConfig.parse({**SIZE, "k": 5, **values})


def saved(kind, tmp_path):
    dictionary = make(kind)
    n_in = len(dictionary.parts_in)
    dictionary.fold([1.7] * n_in, [1.7] * n_in)
    with stage(tmp_path / "d", "dictionary", CONFIGS[kind], {}) as staging:
        write_dictionary(dictionary, staging.folder, model_name="m", sites=Sites.at("blocks.0.hook_mlp_out"))
        staging.finish()
    return dictionary


ARCHITECTURES = (
    {"relu": "standard", "panneal": "standard", "topk": "topk", "archetypal": "topk", "abstopk": "abstopk"}
    | dict.fromkeys(["batchtopk", "matryoshka", "jumprelu"], "jumprelu")
    | {
        "transcoder relu": "transcoder",
        "transcoder batchtopk": "jumprelu_transcoder",
        "transcoder jumprelu": "jumprelu_transcoder",
        "skip transcoder jumprelu": "jumprelu_skip_transcoder",
        "skip transcoder matryoshka": "jumprelu_skip_transcoder",
    }
)


@pytest.mark.parametrize("kind", CONFIGS)
def test_files_give_back_the_same_dictionary(kind, tmp_path):
    dictionary, loaded = saved(kind, tmp_path), load_dictionary(tmp_path / "d")
    assert loaded.config == dictionary.config
    for name, value in dictionary.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    architecture = ARCHITECTURES.get(kind if "coder" in kind else dictionary.config.kind)
    if architecture is None:  # nothing that another reader would misread
        assert not (tmp_path / "d" / "cfg.json").exists()
        return
    cfg = json.loads((tmp_path / "d" / "cfg.json").read_text())
    weights = load_file(tmp_path / "d" / "sae_weights.safetensors")
    assert weights["W_enc"].shape == (12, 40) and weights["W_dec"].shape == (40, dictionary.d_out)
    assert cfg["architecture"] == architecture
    assert cfg["apply_b_dec_to_input"] == dictionary.is_autoencoder and cfg.get("d_out", 12) == dictionary.d_out
    x = inputs()
    if cfg["architecture"].startswith("jumprelu"):  # the plain JumpReLU that other readers will run
        pre = (x - weights["b_dec"] if dictionary.is_autoencoder else x) @ weights["W_enc"] + weights["b_enc"]
        torch.testing.assert_close(
            torch.where(pre > weights["threshold"], pre, 0), loaded.encode(x), rtol=1e-4, atol=1e-5
        )
    if "skip" in cfg["architecture"]:
        whole = loaded.encode(x) @ weights["W_dec"] + weights["b_dec"] + x @ weights["W_skip"].T
        torch.testing.assert_close(loaded(x), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("damage", ["truncate", "flip", "missing tensor", "unknown kind"])
def test_damaged_files_are_named(tmp_path, damage):
    saved("topk", tmp_path)
    path = tmp_path / "d" / "sae_weights.safetensors"
    data = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(data[:-3])
    elif damage == "flip":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif damage == "missing tensor":
        tensors = load_file(path)
        del tensors["b_enc"]
        save_file(tensors, path)
    else:
        (tmp_path / "d" / "config.json").write_text('{"kind": "topkk"}')
    with pytest.raises(UserError, match=r"sae_weights\.safetensors|config\.json"):
        load_dictionary(tmp_path / "d")


def test_a_pickle_is_never_read(tmp_path):
    import pickle

    saved("topk", tmp_path)
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(mark), "w"))

    (tmp_path / "d" / "sae_weights.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError):
        load_dictionary(tmp_path / "d")
    assert not mark.exists()


@pytest.mark.parametrize("config", [TopKConfig, BatchTopKConfig])
def test_impossible_configurations(config):
    with pytest.raises(UserError, match="lower k or raise d_sae"):
        config.parse({"d_in": 4, "d_sae": 8, "k": 9})


def test_codes_survive_their_dense_form():
    dense = torch.tensor([[0.0, -2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 3.0]])
    codes = Codes.from_dense(dense)
    assert torch.equal(codes.dense(), dense) and codes.indptr.tolist() == [0, 1, 1, 3]
    assert codes.by_latent.rows.tolist() == [2, 0, 2] and codes.by_latent.offsets.tolist() == [0, 1, 2, 3]


def test_a_width_mismatch_is_named():
    with pytest.raises(UserError, match="has width 7, and the dictionary reads width 12"):
        make("topk").check_width(7, "Hook x")
