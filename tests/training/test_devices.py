"""Every tensor is made where its inputs lie.

Inside `torch.device("meta")` whatever is made without naming a device becomes a meta tensor, which holds no numbers and
does not mix with the inputs: code that runs there on CPU tensors names the device of everything it makes, so it runs on
any device.
"""

import pytest
import torch

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.dictionaries.controls.rows import random_rows
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.training.adam import Adam
from sparselex.training.checkpoint import load_checkpoint, save_checkpoint
from sparselex.training.config import TrainConfig
from sparselex.training.dead import Silence
from sparselex.training.decoder import normalise, project_out
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.resample import Candidates, resample
from sparselex.training.step import Step

VARIANTS = [
    {"kind": "batchtopk", "k": 3},
    {"kind": "batchtopk", "k": 3, "selection": "bfloat16"},
    {"kind": "topk", "k": 3},
    {"kind": "topk", "k": 3, "selection": "bfloat16"},
    {"kind": "abstopk", "k": 3},
    {"kind": "matryoshka", "k": 3, "prefixes": (0.5,)},
    {"kind": "relu"},
    {"kind": "relu", "convention": "2023"},
    {"kind": "jumprelu", "target_l0": 3},
    {"kind": "jumprelu", "target_l0": 3, "sparsity": "tanh", "gradient": "everything"},
    {"kind": "gated"},
    {"kind": "panneal"},
    {"kind": "matching_pursuit", "k": 3},
    {"kind": "archetypal", "k": 3, "n_points": 30},
    {"kind": "batchtopk", "k": 3, "d_out": 24, "skip": True},
    {"kind": "jumprelu", "target_l0": 3, "d_out": 24},
    {"kind": "relu", "parts": (20, 12)},
    {"kind": "clt", "k": 3, "d_out": 20, "layers_in": (20, 12), "layers_out": (8, 12)},
    {"kind": "clt", "k": 3, "d_out": 20, "layers_in": (20, 12), "layers_out": (8, 12), "selection": "bfloat16"},
]


def sample(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def one_step(dictionary, optimiser, silence, x, gradients):
    """All that a training step does but Adam itself; returns the loss."""
    codes, past = dictionary.training_codes(x, gradients=gradients), dictionary.bypass(x)
    x_hat = dictionary.training_decode(codes, gradients=gradients)
    x_hat = x_hat if past is None else x_hat + past
    step = Step(dictionary, x, x[:, : dictionary.d_out], codes, x_hat, silence.dead, 0.5, past)
    loss = reconstruction(step) + penalty(step) + auxk(step, alpha=1 / 32, k_aux=4, share=2)
    optimiser.zero_grad()
    loss.backward()
    if dictionary.W_dec.is_leaf:  # archetypal rows are computed
        project_out(dictionary.W_dec)
        normalise(dictionary.W_dec)
    silence.update(codes)
    drawn = resample(dictionary, step.dead, Candidates.of(step), optimiser, torch.Generator().manual_seed(0))
    silence.n_tokens[drawn] = 0
    return loss


@pytest.mark.parametrize("gradients", ["sparse", "dense", "bfloat16"])
@pytest.mark.parametrize("values", VARIANTS, ids=lambda values: " ".join(map(str, values.values())))
def test_training_names_the_device_of_all_it_makes(values, gradients, tmp_path):
    config = TrainConfig.parse({"dictionary": {"d_in": 32, "d_sae": 384, **values}, "n_tokens": 1}).dictionary
    dictionary, x = new_dictionary(config, torch.Generator().manual_seed(0)), sample(40, 32)
    optimiser = Adam(dictionary.parameters())
    with torch.device("meta"):
        silence = Silence(384, 30, x.device)
        dictionary.prepare(x, x[:, : dictionary.d_out])
        for _ in range(3):  # AuxK and resampling find dead latents from the second on
            assert torch.isfinite(one_step(dictionary, optimiser, silence, x, gradients))
        assert all(parameter.grad.isfinite().all() for parameter in dictionary.parameters())
    optimiser.step()
    save_checkpoint(tmp_path, dictionary, optimiser, silence, {})
    load_checkpoint(tmp_path, dictionary, optimiser, silence)
    optimiser.step()
    with torch.device("meta"):
        dictionary.fold([0.5] * len(dictionary.parts_in), [0.5] * len(dictionary.parts_out))
        codes = dictionary.encode_sparse(x)
        torch.testing.assert_close(codes.dense(), dictionary.encode(x))
        torch.testing.assert_close(dictionary.decode_sparse(codes), dictionary.decode(dictionary.encode(x)))


@pytest.mark.parametrize("kind", ["neurons", "pca", "random"])
def test_baselines_name_the_device_of_all_they_make(kind):
    x = sample(20, 8)
    with torch.device("meta"):
        mean = x.mean(0)
        basis = {
            "neurons": lambda: neurons(mean, 3),
            "pca": lambda: principal_components(mean, x.T @ x, 3),
            "random": lambda: random_rows(mean, 30, 3, torch.Generator(device="cpu").manual_seed(0)),
        }[kind]()
        assert torch.isfinite(basis(x)).all()


def test_the_check_sees_a_tensor_made_without_a_device():
    x = sample(3)
    with torch.device("meta"), pytest.raises((RuntimeError, NotImplementedError)):
        (x + torch.zeros(3)).tolist()


def test_orders_of_codes_equal_slow_ones():
    rows, indices = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([4, 1, 1, 4, 0])
    codes = Codes.from_pairs(rows, indices, torch.arange(1.0, 6), 4, 6)
    assert codes.indptr.tolist() == [0, 2, 2, 5, 5] and codes.rows.tolist() == rows.tolist()
    by = codes.by_latent
    assert by.order.tolist() == [4, 1, 2, 0, 3] and by.rows.tolist() == [2, 0, 2, 0, 2]
    assert by.offsets.tolist() == [0, 1, 3, 3, 3, 5, 5]
    empty = Codes.from_pairs(rows[:0], indices[:0], torch.zeros(0), 2, 3)
    assert (
        empty.indptr.tolist() == [0, 0, 0] and empty.by_latent.offsets.tolist() == [0, 0, 0, 0] and not len(empty.rows)
    )
