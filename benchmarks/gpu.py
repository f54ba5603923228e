"""Optimiser steps on a GPU against the encoder's bfloat16 product alone, against dense autograd, and kernels against
PyTorch; selection alone.

A step must do the encoder's product; the goal is half of its rate, for TopK and BatchTopK with k 64, 2,304 -> 65,536,
batch 32,768. Weights, moments and sums are float32 throughout. Without a GPU: `--device cpu --quick` runs everything
once at toy size, to see that it runs.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.ratios import interleaved, options, ratio, show
from benchmarks.training import activations
from sparselex.base.figures import Figure
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.sparse import products as sparse
from sparselex.dictionaries.sparse import selection as choosing
from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.training import adam
from sparselex.training.adam import Adam
from sparselex.training.config import TrainConfig
from sparselex.training.leaves import Leaves
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.step import Step

GOAL = 0.5


class Size(NamedTuple):
    """One size of the problem, and where it runs."""

    device: str
    d_in: int
    d_sae: int
    batch: int
    k: int
    n_rounds: int

    def __str__(self) -> str:
        return f"{self.d_in} -> {self.d_sae:,}, k {self.k}, batch {self.batch:,}, {card(self.device)}"


def card(device: str) -> str:
    """What it is measured on."""
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, torch {torch.__version__}"


def size_of(device: str, quick: bool) -> Size:
    """The size in the title where the card holds it; a quarter of the batch on smaller cards; a toy on a CPU."""
    n_rounds = 3 if quick else 9
    if device == "cpu":
        return Size(device, 64, 512, 256, 4, 1 if quick else n_rounds)
    enough = torch.cuda.get_device_properties(0).total_memory > 75e9
    return Size(device, 2304, 65_536, 32_768 if enough else 8192, 64, n_rounds)


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """PyTorch's own operations in place of our kernels."""
    kept = sparse.kernels_for
    sparse.kernels_for = choosing.kernels_for = adam.kernels_for = lambda table: None
    try:
        yield
    finally:
        sparse.kernels_for = choosing.kernels_for = adam.kernels_for = kept


def finished(act: Callable[[], object], device: str) -> Callable[[], object]:
    """`act`, and waiting until the GPU has done it."""
    return act if device == "cpu" else lambda: (act(), torch.cuda.synchronize())


def fresh(kind: str, size: Size, x: torch.Tensor, **values: object) -> TrainableDictionary:
    """A new dictionary, prepared on `x`."""
    values = {"kind": kind, "d_in": size.d_in, "d_sae": size.d_sae, "k": size.k, **values}
    config = TrainConfig.parse({"dictionary": values, "n_tokens": 1}).dictionary
    dictionary = new_dictionary(config, torch.Generator().manual_seed(0)).to(size.device)
    dictionary.prepare(x, x)
    return dictionary


def our_step(dictionary: TrainableDictionary, x: torch.Tensor, gradients: Gradients) -> Callable[[], None]:
    """Codes, decode, all terms of the loss, gradients, clipping, Adam."""
    optimiser = Adam(dictionary.parameters(), lr=1e-4)
    dead = torch.arange(0, device=x.device)

    def step() -> None:
        codes = dictionary.training_codes(x, gradients=gradients)
        x_hat = decode_at(codes, dictionary.W_dec, dictionary.b_dec, gradients=gradients)
        taken = Step(dictionary, x, x, codes, x_hat, dead, 0.5)
        leaves = Leaves()
        aux = auxk(taken, alpha=1 / 32, k_aux=x.shape[1] // 2, share=2, select=leaves.select)
        loss = reconstruction(taken) + penalty(taken) + aux
        loss.backward()
        leaves.add_gradients()
        optimiser.clipped_step(optimiser.gradient_norm(), 1.0)
        optimiser.zero_grad()

    return step


def dense_step(dictionary: TrainableDictionary, x: torch.Tensor, k: int) -> Callable[[], None]:
    """TopK by dense autograd with bfloat16 products: what a plain trainer does."""
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16):
            pre = (x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc
            kept = pre.relu().topk(k, dim=-1)
            acts = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values)
            x_hat = acts @ dictionary.W_dec + dictionary.b_dec
        loss = (x_hat - x).square().sum() / len(x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dictionary.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def products(x: torch.Tensor, size: Size) -> Callable[[], None]:
    """The encoder's product in bfloat16, part by part of the batch into one buffer."""
    W, inputs = torch.randn(size.d_sae, size.d_in, device=size.device).bfloat16(), x.bfloat16()
    n_rows = min(size.batch, 8192)
    out = torch.empty(n_rows, size.d_sae, dtype=torch.bfloat16, device=size.device)

    def act() -> None:
        for start in range(0, len(inputs), n_rows):
            torch.mm(inputs[start : start + n_rows], W.T, out=out)

    return act


def peak_bytes(act: Callable[[], object]) -> int:
    """Most memory held on the GPU during `act`, with everything its dictionary holds."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    act()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def steps(size: Size) -> list[Figure]:
    """Shares of the product's rate, and of dense autograd's."""
    x = activations(size.batch, size.d_in, size.device)
    chosen: dict[str, tuple[str, Gradients]] = {
        "topk": ("topk", "sparse"),
        "batchtopk": ("batchtopk", "sparse"),
        "topk_bf16": ("topk", "bfloat16"),
        "batchtopk_bf16": ("batchtopk", "bfloat16"),
    }
    make = lambda kind, gradients: our_step(fresh(kind, size, x, selection="bfloat16"), x, gradients)
    contenders = {name: make(*choice) for name, choice in chosen.items()}
    if fast := sparse.kernels_for(x) is not None:
        plain = make("batchtopk", "sparse")

        def by_pytorch() -> None:
            with without_kernels():
                plain()

        contenders["without_kernels"] = by_pytorch
    contenders |= {"dense": dense_step(fresh("topk", size, x), x, size.k), "product": products(x, size)}
    contenders = {name: finished(act, size.device) for name, act in contenders.items()}
    for act in contenders.values():  # kernels are compiled, and BatchTopK's threshold finds its place
        act()
    times = interleaved(contenders, size.n_rounds)
    operations = 2.0 * size.d_in * size.d_sae * size.batch
    rate = operations / times["product"] / 1e12
    figures = [
        Figure(
            name="gpu/product",
            value=float(np.median(rate)),
            ci_low=float(rate.min()),
            ci_high=float(rate.max()),
            n=len(rate),
            unit="TFLOP/s",
            definition=f"encoder's product in bfloat16 alone; {size}",
        )
    ]
    for name in chosen:
        figures += [
            ratio(
                f"gpu/{name}/to_encoder_product",
                times["product"],
                times[name],
                f"whole {name} step / bfloat16 encoder product alone, goal {GOAL}; {size}",
            ),
            ratio(
                f"gpu/{name}/to_dense_autograd",
                times["dense"],
                times[name],
                f"whole {name} step / dense TopK step by autocast; {size}",
            ),
        ]
        tokens = size.batch / times[name]
        figures.append(
            Figure(
                name=f"gpu/{name}/rate",
                value=float(np.median(tokens)),
                ci_low=float(tokens.min()),
                ci_high=float(tokens.max()),
                n=len(tokens),
                unit="tokens/s",
                definition=f"tokens trained on a second by {name}; {size}",
            )
        )
    if fast:
        figures.append(
            ratio(
                "gpu/batchtopk/to_pytorch",
                times["without_kernels"],
                times["batchtopk"],
                f"batchtopk step with kernels / without; {size}",
            )
        )
    return figures


def memory(size: Size) -> list[Figure]:
    """Peak memory of a step, its dictionary alone on the card."""
    x = activations(size.batch, size.d_in, size.device)
    n_parameters = 2 * size.d_in * size.d_sae + size.d_sae + size.d_in
    figures = []
    for name in ("batchtopk", "batchtopk_bf16", "dense"):
        dictionary = fresh("topk" if name == "dense" else "batchtopk", size, x, selection="bfloat16")
        gradients: Gradients = "bfloat16" if name.endswith("bf16") else "sparse"
        step = dense_step(dictionary, x, size.k) if name == "dense" else our_step(dictionary, x, gradients)
        step()
        figures.append(
            Figure(
                name=f"gpu/{name}/peak_memory",
                value=peak_bytes(step) / n_parameters,
                n=1,
                unit="bytes",
                definition=f"peak memory of a {name} step / parameters, least possible 16; {size}",
            )
        )
        del dictionary, step
    return figures


def parts(size: Size) -> list[Figure]:
    """Each kernel against PyTorch's operations on the same numbers."""
    n, nnz = size.batch, size.batch * size.k
    table = torch.randn(size.d_sae, size.d_in, device=size.device)
    grad = torch.randn(n, size.d_in, device=size.device)
    # Real codes: some latents are active in most tokens, many in few.
    x = activations(n, size.d_in, size.device)
    codes = fresh("batchtopk", size, x, selection="bfloat16").training_codes(x)
    by, values = codes.by_latent, codes.values.detach()
    weights = torch.nn.Parameter(table.clone())
    weights.grad = torch.randn_like(table)
    optimiser = Adam([{"params": [weights], "unit_rows": True}], lr=1e-4)
    half, half_grad = table.bfloat16(), grad.bfloat16()
    contenders: dict[str, Callable[[], object]] = {
        "decode": lambda: sparse.bag_sums(table, codes.indices, codes.indptr, values),
        "weight_gradient": lambda: sparse.bag_sums(grad, by.rows, by.offsets, values[by.order]),
        "activation_gradient": lambda: sparse.pair_dots(grad, table, codes.rows, codes.indices),
        "adam": lambda: optimiser.clipped_step(optimiser.gradient_norm(), 1.0),
    }
    rounded = {
        "decode_bf16": lambda: sparse.bag_sums(half, codes.indices, codes.indptr, values),
        "weight_gradient_bf16": lambda: sparse.bag_sums(half_grad, by.rows, by.offsets, values[by.order]),
        "activation_gradient_bf16": lambda: sparse.pair_dots(half_grad, half, codes.rows, codes.indices),
    }

    def plainly(act: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with without_kernels():
                act()

        return run

    plain = {f"{name} by PyTorch": plainly(act) for name, act in contenders.items()}
    acts = {name: finished(act, size.device) for name, act in (contenders | rounded | plain).items()}
    times = interleaved(acts, size.n_rounds)
    figures = []
    for name in contenders | rounded:
        reference = times[f"{name.removesuffix('_bf16')} by PyTorch"]
        figures += [
            ratio(
                f"gpu/{name}/to_pytorch",
                reference,
                times[name],
                f"{name} / the same by PyTorch in float32; {nnz:,} active; {size}",
            ),
            Figure(
                name=f"gpu/{name}/time",
                value=1e3 * float(np.median(times[name])),
                n=size.n_rounds,
                unit="ms",
                definition=f"one {name}, {nnz:,} active; {size}",
            ),
        ]
    return figures


def selection(size: Size) -> list[Figure]:
    """The product and what chooses among its scores: by PyTorch, and by kernels."""
    x = activations(size.batch, size.d_in, size.device).bfloat16()
    W = torch.randn(size.d_sae, size.d_in, device=size.device).bfloat16()
    n_chosen, rows = size.k + 8, x.split(4096)
    sample = (x[:64] @ W.T).float().view(-1)
    bar = 0.8 * float(sparse.nth_largest(sample, size.k * min(64, size.batch)))
    out = torch.empty(len(rows[0]), size.d_sae, dtype=torch.bfloat16, device=size.device)
    plain = lambda part: torch.mm(part, W.T, out=out[: len(part)])

    def over(act: Callable[[torch.Tensor], object]) -> Callable[[], object]:
        def run() -> None:
            for part in rows:
                act(part)

        return run

    contenders: dict[str, Callable[[], object]] = {
        "product": over(plain),
        "topk_by_pytorch": over(lambda part: plain(part).topk(n_chosen, dim=-1, sorted=False)),
        "above_by_pytorch": over(lambda part: sparse.places_above(plain(part).view(-1), bar)),
    }
    if kernels := sparse.kernels_for(x):

        def after(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = plain(part)
            return scores, kernels.group_maxima(scores)

        contenders |= {
            "maxima": over(after),
            "topk_by_kernels": over(lambda part: kernels.largest_places(*after(part), n_chosen)),
            "above_by_kernels": over(lambda part: kernels.places_above(*after(part), bar)),
        }
    times = interleaved({name: finished(act, size.device) for name, act in contenders.items()}, size.n_rounds)
    return [
        ratio(
            f"gpu/selection/{name}/to_encoder_product",
            times["product"],
            times[name],
            f"product with {name.replace('_', ' ')} / bfloat16 product alone; {size}",
        )
        for name in contenders
        if name != "product"
    ]


def main() -> None:
    """The command."""
    arguments = options(__doc__, device="cuda (default) or cpu")
    device = arguments.device or "cuda"
    if device != "cpu" and not torch.cuda.is_available():
        print("No CUDA device here: nothing measured (--device cpu --quick runs it at toy size).")
        return
    size = size_of(device, arguments.quick)
    print(card(device))
    found = selection(size) + steps(size) + (memory(size) if device != "cpu" else []) + parts(size)
    show("gpu", found, arguments.json)


if __name__ == "__main__":
    main()
