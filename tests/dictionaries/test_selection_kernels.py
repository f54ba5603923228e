"""The kernels of selection against sorting everything; `test_kernels` says how these tests run without a GPU."""

import os
from importlib.util import find_spec

import pytest
import torch

from sparselex.dictionaries.sparse import products as sparse

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HERE = find_spec("triton") is not None and (INTERPRETED or torch.cuda.is_available())
DEVICE = "cpu" if INTERPRETED else "cuda"
compared = pytest.mark.skipif(not HERE, reason="runs in the interpreter's process")

if HERE:
    from sparselex.dictionaries.sparse import selection_kernels as selecting


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)


def awkward(m):
    """Rows of scores that are hard to rank, with gaps between the rows."""
    random = normal(m)
    one_group = -random.abs() - 1
    one_group[8:16] = random[8:16].abs()
    signs = torch.where(random > 0, 0.0, -0.0)
    signs[::9] = random[::9]
    rows = [
        random,
        random.round(),
        -random.abs() - 1,
        torch.full_like(random, 0.5),
        signs,
        one_group,
        random * 1e-35,
        random * 1e38,
        torch.arange(m, device=DEVICE).float(),
        -torch.arange(m, device=DEVICE).float(),
    ]
    wide = torch.full((len(rows), m + 13), 1e30, dtype=torch.bfloat16, device=DEVICE)
    wide[:, :m] = torch.stack(rows)
    return wide[:, :m]


def slow_maxima(scores, group, signed):
    parts = (scores.abs() if signed else scores).split(group, dim=1)
    return torch.stack([part.amax(1) for part in parts], 1)


def slow_places(scores, k, signed):
    sizes = scores.abs() if signed else scores
    return sizes.float().sort(dim=-1, descending=True, stable=True).indices[:, :k].sort(-1).values


@compared
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("m", [70, 64])
def test_group_maxima_equal_slow_ones(m, signed, monkeypatch):
    monkeypatch.setattr(selecting, "GROUP", 8)
    monkeypatch.setattr(selecting, "_MAXIMA", 4)
    scores = awkward(m)
    assert torch.equal(selecting.group_maxima(scores, signed=signed), slow_maxima(scores, 8, signed))
    transposed = scores.T.contiguous().T
    assert torch.equal(selecting.group_maxima(transposed, signed=signed), slow_maxima(scores, 8, signed))


@compared
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("k", [1, 5, 12, 70])  # 12 groups are more than there are
def test_the_largest_places_are_those_of_a_stable_sort(k, signed, monkeypatch):
    monkeypatch.setattr(selecting, "GROUP", 8)
    scores = awkward(70)
    maxima = selecting.group_maxima(scores, signed=signed)
    found = selecting.largest_places(scores, maxima, k, signed=signed)
    assert found.dtype == torch.int64 and torch.equal(found, slow_places(scores, k, signed))


@compared
def test_long_rows_are_ranked_in_two_steps_and_longer_ones_by_pytorch(monkeypatch):
    scores = normal(2, 40_000, dtype=torch.bfloat16)
    maxima = selecting.group_maxima(scores)
    expected = slow_places(scores, 72, False)
    assert torch.equal(selecting.largest_places(scores, maxima, 72), expected)
    monkeypatch.setattr(selecting, "WIDEST", 1024)
    found = selecting.largest_places(scores, maxima, 72)
    assert torch.equal(scores.gather(1, found).sort().values, scores.gather(1, expected).sort().values)


@compared
@pytest.mark.parametrize("bar", [0.0, 0.3, 0.5, 3e38])
def test_places_above_are_those_of_the_whole_matrix(bar, monkeypatch):
    monkeypatch.setattr(selecting, "GROUP", 8)
    monkeypatch.setattr(selecting, "_GROUPS", 16)
    scores = awkward(70)
    places, values = selecting.places_above(scores, selecting.group_maxima(scores), bar)
    flat = scores.reshape(-1)
    assert torch.equal(places, sparse.places_above(flat, bar)) and bool(len(places)) == (bar < 1e38)
    assert values.dtype == torch.float32 and torch.equal(values, flat[places].float())


@compared
def test_no_tokens_have_no_places():
    scores = normal(0, 40, dtype=torch.bfloat16)
    maxima = selecting.group_maxima(scores)
    assert maxima.shape == (0, 2)
    assert selecting.largest_places(scores, maxima, 3).shape == (0, 3)
    assert not len(selecting.places_above(scores, maxima, 0.5)[0])


SHARED = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes of shared memory that a program may take."""


@pytest.mark.skipif(
    INTERPRETED or not find_spec("triton"), reason="no Triton, or its interpreter, which compiles nothing"
)
@pytest.mark.parametrize("capability", SHARED)
def test_kernels_of_selection_compile_for_gpus(capability, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    import sparselex.dictionaries.sparse.selection_kernels as compiled

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def built(kernel, n_warps, **given):
        constants = {"GROUP": 32, "LANES": 4096, "SIGNED": False, "GROUPED": True, "WRITE": True, "GROUPS": 64}
        chosen = {name: constants[name] for name in kernel.arg_names if name.isupper()}
        signature = {name: "constexpr" if name in chosen else given.get(name, "i32") for name in kernel.arg_names}
        aligned = {
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(kernel.arg_names)
            if name in ("m", "d", "stride", "n_groups") or signature[name].startswith("*")
        }
        source = ASTSource(fn=kernel, signature=signature, constexprs=chosen, attrs=aligned)
        done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": n_warps})
        assert "cubin" in done.asm and done.metadata.shared <= SHARED[capability]

    half = {"scores": "*bf16", "maxima": "*bf16", "values": "*bf16"}
    built(compiled._maxima, 8, **half)
    built(compiled._pick, 8, **half, groups="*i32", out="*i64")
    built(compiled._members, 4, **half | {"values": "*fp32"}, groups="*i64", ends="*i64", places="*i64", bar="fp32")
