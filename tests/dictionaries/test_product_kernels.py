"""The Triton kernels against PyTorch: compiled on a GPU, in Triton's interpreter elsewhere.

The interpreter must be asked for before Triton is imported, so there the tests run once more in a process of their own.
"""

import itertools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from sparselex.dictionaries.sparse import products as sparse
from sparselex.dictionaries.sparse import selection
from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.decoder import normalise, project_out

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HERE = find_spec("triton") is not None and (INTERPRETED or torch.cuda.is_available())
DEVICE = "cpu" if INTERPRETED else "cuda"
compared = pytest.mark.skipif(not HERE, reason="runs in the interpreter's process")

if HERE:
    from sparselex.dictionaries.sparse import product_kernels as kernels
    from sparselex.dictionaries.sparse import selection_kernels as selecting


@pytest.mark.slow
@pytest.mark.skipif(HERE or not find_spec("triton"), reason="no Triton, or the tests run in this process")
def test_everything_here_selection_and_adam_in_the_interpreter():
    here = Path(__file__)
    files = [
        __file__,
        str(here.with_name("test_selection_kernels.py")),
        str(here.parents[1] / "training" / "test_adam.py"),
    ]
    command = [sys.executable, "-m", "pytest", *files, "-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TRITON_INTERPRET": "1"})
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="once is enough")
def test_the_library_does_not_import_triton():
    code = "import sys, sparselex.training.train, sparselex.dictionaries.table; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(INTERPRETED, reason="once is enough")
def test_the_benchmark_runs_at_toy_size_and_without_a_gpu_says_so(tmp_path, monkeypatch, capsys):
    file = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--quick", "--json", str(file)])
    gpu.main()
    figures = {figure["name"]: figure["value"] for figure in json.loads(file.read_text())}
    expected = {
        "gpu/product",
        "gpu/batchtopk_bf16/to_encoder_product",
        "gpu/adam/to_pytorch",
        "gpu/selection/topk_by_pytorch/to_encoder_product",
    }
    assert expected <= set(figures)
    assert all(value > 0 for value in figures.values())
    if not torch.cuda.is_available():
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["gpu"])
        gpu.main()
        assert capsys.readouterr().out.count("\n") == 1


def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=generator()).to(DEVICE, dtype)


def places(n, below):
    return torch.randint(below, (n,), generator=generator()).to(DEVICE)


LENGTHS = {
    "empty and short": [0, 3, 1, 0, 17, 16, 0],
    "around a piece": [31, 32, 33, 0, 64, 65],
    "one takes all": [0, 300, 0],
    "nothing": [0, 0],
    "no bags": [],
}


@compared
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_bag_sums_equal_slow_ones(lengths, dtype, monkeypatch):
    monkeypatch.setattr(kernels, "_PIECE", 32)
    table, offsets = normal(20, 150, dtype=dtype), torch.tensor([0, *lengths], device=DEVICE).cumsum(0)
    indices, weights = places(sum(lengths), 20), normal(sum(lengths))
    found = kernels.bag_sums(table, indices, offsets, weights)
    rows, ends = table.double(), offsets.tolist()
    slow = [weights[first:last].double() @ rows[indices[first:last]] for first, last in itertools.pairwise(ends)]
    assert found.dtype == torch.float32 and found.shape == (len(lengths), 150)
    if slow:
        torch.testing.assert_close(found.double(), torch.stack(slow), rtol=1e-5, atol=2e-5)


@compared
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("d", "nnz", "strip_bytes"), [(150, 37, 2**25), (300, 20, 1), (5, 16, 1), (8, 0, 2**25)])
def test_pair_dots_equal_slow_ones(d, nnz, strip_bytes, dtype, monkeypatch):
    monkeypatch.setattr(kernels, "_STRIP_BYTES", strip_bytes)
    left, table, rows, indices = normal(9, d), normal(20, d, dtype=dtype), places(nnz, 9), places(nnz, 20)
    found = kernels.pair_dots(left, table, rows, indices)
    assert found.dtype == torch.float32
    slow = (left.double()[rows] * table.double()[indices]).sum(-1)
    torch.testing.assert_close(found.double(), slow, rtol=1e-5, atol=2e-5)


@compared
def test_tables_that_lie_column_by_column_are_read_right():
    table, left, rows = normal(40, 20).T, normal(9, 80)[:, ::2], places(30, 9)
    found = kernels.pair_dots(left, table, rows, rows)
    torch.testing.assert_close(found, (left[rows] * table[rows]).sum(-1), rtol=1e-5, atol=2e-5)
    wide = normal(20, 64)[:, :40]  # rows with gaps between
    found = kernels.bag_sums(wide, rows, torch.tensor([0, 12, 30], device=DEVICE), torch.ones(30, device=DEVICE))
    torch.testing.assert_close(found[1], wide[rows[12:]].sum(0), rtol=1e-5, atol=2e-5)


@compared
@pytest.mark.parametrize(
    "values",
    [{"kind": "topk"}, *({"kind": kind, "selection": "bfloat16"} for kind in ("topk", "abstopk", "batchtopk"))],
)
def test_a_training_step_by_kernels_equals_one_without(values, monkeypatch):
    monkeypatch.setattr(selecting, "GROUP", 4)
    config = TrainConfig.parse({"dictionary": {"d_in": 24, "d_sae": 62, "k": 6, **values}, "n_tokens": 1}).dictionary

    def gradients(chosen):
        for module in (sparse, selection):
            monkeypatch.setattr(module, "kernels_for", lambda table: chosen)
        dictionary, x = new_dictionary(config, generator()).to(DEVICE), normal(30, 24)
        codes = dictionary.training_codes(x, gradients="sparse")
        x_hat = decode_at(codes, dictionary.W_dec, dictionary.b_dec, gradients="sparse")
        (x_hat - x).square().sum().backward()
        return [x_hat.detach(), *(parameter.grad for parameter in dictionary.parameters())]

    for found, expected in zip(gradients(kernels), gradients(None), strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@compared
def test_kernels_serve_tables_of_a_gpu_only():
    assert (sparse.kernels_for(normal(2, 2)) is None) == (DEVICE == "cpu")
    assert sparse.kernels_for(normal(2, 2, dtype=torch.float64)) is None


def adam_by_passes(W, gradients, *, factor, project, unit):
    """Clipping, projection, Adam and norms one after another, as training does without the kernel."""
    optimiser = torch.optim.Adam([W], lr=3e-2, betas=(0.8, 0.99), eps=1e-6)
    for gradient in gradients:
        W.grad = gradient * factor
        if project:
            project_out(W)
        optimiser.step()
        if unit:
            normalise(W)
    return optimiser.state[W]


@compared
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("factor", [None, 0.3])
def test_one_pass_equals_adam_with_projection_and_norms(factor, project, unit):
    expected = torch.nn.Parameter(normal(7, 130) / 11)
    gradients = [normal(size, 7, 130)[-1] * size for size in (2, 7, 20)]  # other numbers than the weights'
    W, grad, exp_avg, exp_avg_sq = expected.detach().clone(), *(torch.zeros(7, 130, device=DEVICE) for _ in range(3))
    state = adam_by_passes(expected, gradients, factor=factor or 1.0, project=project, unit=unit)
    for step, gradient in enumerate(gradients, 1):
        grad.copy_(gradient)
        kernels.adam_rows(
            W,
            grad,
            exp_avg,
            exp_avg_sq,
            step=step,
            lr=3e-2,
            betas=(0.8, 0.99),
            eps=1e-6,
            project=project,
            normalise=unit,
            factor=None if factor is None else torch.tensor(factor, device=DEVICE),
        )
    torch.testing.assert_close(W, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(exp_avg, state["exp_avg"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(exp_avg_sq, state["exp_avg_sq"], rtol=1e-5, atol=1e-6)
    before = W.clone()
    kernels.adam_rows(W, gradients[0], exp_avg, exp_avg_sq, step=4, lr=0.0)
    assert torch.equal(W, before)


POINTER, WHOLE, REAL = "*i64", "i32", "fp32"


@pytest.mark.slow
@pytest.mark.skipif(
    INTERPRETED or not find_spec("triton"), reason="no Triton, or its interpreter, which compiles nothing"
)
@pytest.mark.parametrize("table", ["*fp32", "*bf16"])
def test_kernels_compile_for_gpus(table, tmp_path, monkeypatch):
    """For the architectures of A100 and H100, which needs neither; the interpreter takes much that the compiler
    refuses."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    import sparselex.dictionaries.sparse.product_kernels as compiled

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = {
        "table": table,
        "left": "*fp32",
        "indices": POINTER,
        "rows": POINTER,
        "offsets": POINTER,
        "owners": POINTER,
        "ends": POINTER,
        "weights": "*fp32",
        "out": "*fp32",
        "partial": "*fp32",
        "factor": "*fp32",
        "param": "*fp32",
        "grad": "*fp32",
        "exp_avg": "*fp32",
        "exp_avg_sq": "*fp32",
        "n_bags": WHOLE,
        "d": WHOLE,
        "nnz": WHOLE,
        "span": WHOLE,
        "stride": WHOLE,
        "left_stride": WHOLE,
        "table_stride": WHOLE,
    }
    constants = {"PIECE": 1024, "ENTRIES": 16, "STRIP": 128, "WIDTH": 4096}
    for kernel in (compiled._sum_pieces, compiled._add_pieces, compiled._dot_pairs, compiled._adam_row):
        chosen = {name: constants.get(name, True) for name in kernel.arg_names if name.isupper()}
        signature = {name: "constexpr" if name in chosen else types.get(name, REAL) for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=chosen)
        for capability in (80, 90):
            assert "cubin" in triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm
