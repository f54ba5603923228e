"""Optimiser steps of sparse dictionaries against the encoder's matrix product alone, and against dense autograd.

Limit: a step must do the encoder's product, 2 n d_in d_sae operations; everything else shrinks with the number of
active latents. The dense reference does the same mathematics by autograd: five products of that size. Activations are
sums of 32 of 4,096 unit directions.
"""

import contextlib
import importlib
import math
import multiprocessing
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.base.figures import Figure
from sparselex.base.memory import keep_freed_memory
from sparselex.dictionaries.sparse.products import block_shape, decode_at
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.training.adam import Adam
from sparselex.training.config import TrainConfig
from sparselex.training.leaves import Leaves
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.step import Step

K = 32


def activations(n: int, d_in: int, device: str = "cpu") -> torch.Tensor:
    """`[n, d_in]` sums of about 32 planted directions, scaled to E|x|² = d_in."""
    generator = torch.Generator(device).manual_seed(1)
    directions = torch.randn(4096, d_in, generator=generator, device=device)
    directions /= directions.norm(dim=-1, keepdim=True)
    numbers = lambda: torch.rand(n, 4096, generator=generator, device=device)
    sizes = numbers() * (numbers() < K / 4096)
    x = sizes @ directions
    return x * (d_in / x.square().sum(-1).mean()).sqrt()


def dictionary_of(kind: str, x: torch.Tensor, d_sae: int, **values: object) -> TrainableDictionary:
    """A fresh dictionary with an L0 of about 32 on `x`."""
    config = {"dictionary": {"kind": kind, "d_in": x.shape[1], "d_sae": d_sae, **values}, "n_tokens": 1}
    dictionary = new_dictionary(TrainConfig.parse(config).dictionary, torch.Generator().manual_seed(0))
    dictionary.prepare(x, x)
    if kind == "relu":  # as after the penalty has done its work
        with torch.no_grad():
            pre = dictionary.pre_acts(x[:512])
            dictionary.b_enc -= pre.flatten().topk(K * 512).values[-1]
    return dictionary


def our_step(dictionary: TrainableDictionary, x: torch.Tensor, n_dead: int = 0) -> Callable[[], None]:
    """Our step: codes, decode, all terms of the loss, gradients, clipping, Adam."""
    optimiser = Adam(dictionary.parameters(), lr=1e-4)
    dead = torch.arange(n_dead)

    def step() -> None:
        codes = dictionary.training_codes(x)
        x_hat = decode_at(codes, dictionary.W_dec, dictionary.b_dec)
        taken = Step(dictionary, x, x, codes, x_hat, dead, 0.5)
        leaves = Leaves()
        aux = auxk(taken, alpha=1 / 32, k_aux=x.shape[1] // 2, share=2, select=leaves.select)
        loss = reconstruction(taken) + penalty(taken) + aux
        optimiser.zero_grad()
        loss.backward()
        leaves.add_gradients()
        optimiser.clipped_step(optimiser.gradient_norm(), 1.0)

    return step


def dense_step(dictionary: TrainableDictionary, x: torch.Tensor) -> Callable[[], None]:
    """The same mathematics by dense autograd: a top-k mask per token, or ReLU with L1."""
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-4)
    kind = dictionary.config.to_json()["kind"]

    def step() -> None:
        pre = (x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc
        acts = pre.relu()
        if kind == "topk":
            kept = acts.topk(K, dim=-1)
            acts = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values)
        loss = (acts @ dictionary.W_dec + dictionary.b_dec - x).square().sum() / len(x)
        if kind == "relu":
            loss = loss + 5 * (acts * dictionary.W_dec.norm(dim=-1)).sum() / len(x)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dictionary.parameters(), 1.0)
        optimiser.step()

    return step


def sparsify_step(x: torch.Tensor, d_sae: int) -> Callable[[], None]:
    """The TopK step of eai-sparsify, the fastest peer we know on CPUs."""
    peer = importlib.import_module("sparsify")
    coder = peer.SparseCoder(x.shape[1], peer.SparseCoderConfig(num_latents=d_sae, k=K))
    optimiser = torch.optim.Adam(coder.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        coder.set_decoder_norm_to_unit_norm()
        loss = coder(x).fvu
        optimiser.zero_grad()
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()

    return step


def reference_step(name: str, d_in: int, d_sae: int, batch: int) -> Callable[[], None]:
    """The step of a reference by name."""
    x = activations(batch, d_in)
    if name == "sparsify":
        return sparsify_step(x, d_sae)
    kind = name.removeprefix("dense_")
    return dense_step(dictionary_of(kind, x, d_sae, **({"k": K} if kind == "topk" else {})), x)


def _serve(pipe: Connection, *arguments: Any) -> None:
    step = reference_step(*arguments)
    while pipe.recv():
        step()
        pipe.send(True)


@contextlib.contextmanager
def elsewhere(*arguments: Any) -> Iterator[Callable[[], object]]:
    """A reference step in a process of its own: it meets the allocator as its users do, not as `keep_freed_memory` left
    it."""
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, *arguments), daemon=True)
    worker.start()

    def step() -> object:
        here.send(True)
        return here.recv()

    yield step
    here.send(False)
    worker.join()


def measure(d_in: int, d_sae: int, batch: int, n_rounds: int) -> list[Figure]:
    """Ratios at one size."""
    x = activations(batch, d_in)
    W, out = torch.randn(d_sae, d_in).T, torch.empty(batch, d_sae)
    ours = {
        "topk": our_step(dictionary_of("topk", x, d_sae, k=K), x),
        "batchtopk": our_step(dictionary_of("batchtopk", x, d_sae, k=K), x),
        "batchtopk_auxk": our_step(dictionary_of("batchtopk", x, d_sae, k=K), x, n_dead=d_sae // 50),
        "topk_bf16": our_step(dictionary_of("topk", x, d_sae, k=K, selection="bfloat16"), x),
        "batchtopk_bf16": our_step(dictionary_of("batchtopk", x, d_sae, k=K, selection="bfloat16"), x),
        "relu": our_step(dictionary_of("relu", x, d_sae), x),
        "jumprelu": our_step(dictionary_of("jumprelu", x, d_sae, target_l0=K), x),
    }
    peer = find_spec("sparsify") is not None
    with contextlib.ExitStack() as stack:
        references: dict[str, Callable[[], object]] = {"product": lambda: torch.mm(x, W, out=out)}
        for name in ("dense_topk", "dense_relu", *(["sparsify"] if peer else [])):
            references[name] = stack.enter_context(elsewhere(name, d_in, d_sae, batch))
        times = interleaved(ours | references, n_rounds)
    size = f"{d_in}-{d_sae}-{batch}"
    where = f"{d_in} -> {d_sae:,}, L0 about {K}, batch {batch:,}, {torch.get_num_threads()} threads"
    figures = []
    for name in ours:
        dense = "dense_relu" if name in ("relu", "jumprelu") else "dense_topk"
        figures += [
            ratio(
                f"training/{size}/{name}/to_encoder_product",
                times["product"],
                times[name],
                f"{name} step / float32 encoder product alone, {where}",
            ),
            ratio(
                f"training/{size}/{name}/to_dense_autograd",
                times[dense],
                times[name],
                f"{name} step / dense autograd step, {where}",
            ),
        ]
        if peer and "topk" in name:
            figures.append(
                ratio(
                    f"training/{size}/{name}/to_sparsify",
                    times["sparsify"],
                    times[name],
                    f"{name} step / eai-sparsify TopK step, {where}",
                )
            )
    figures.append(
        ratio(
            f"training/{size}/auxk_cost",
            times["batchtopk_auxk"],
            times["batchtopk"],
            f"time with AuxK on 2 % dead latents / without, {where}",
        )
    )
    return figures


def per_latent(n_rounds: int) -> list[Figure]:
    """Time per latent of wide dictionaries relative to 4,096 latents."""
    x = activations(1024, 512)
    widths = (4096, 16_384, 65_536, 131_072)
    steps = {str(d_sae): our_step(dictionary_of("batchtopk", x, d_sae, k=K), x) for d_sae in widths}
    times = interleaved(steps, n_rounds)
    return [
        ratio(
            f"training/per_latent/{d_sae}",
            times["4096"] * d_sae / 4096,
            times[str(d_sae)],
            f"speed per latent at d_sae {d_sae:,} / at 4,096, d_in 512, batch 1,024",
        )
        for d_sae in widths[1:]
    ]


def _most_memory() -> int:
    """Largest resident size of this process so far in KiB; of its own, which `getrusage` mixes with that of who started
    it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _peak(pipe: Connection, d_in: int, d_sae: int, batch: int) -> None:
    keep_freed_memory()
    x = activations(batch, d_in)
    before = _most_memory()
    step = our_step(dictionary_of("batchtopk", x, d_sae, k=K), x)
    for _ in range(3):
        step()
    pipe.send((_most_memory() - before) * 1024)


def memory(d_in: int, d_sae: int, batch: int) -> Figure:
    """Peak memory of a step beyond one and a half blocks of scores, in bytes for each parameter."""
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_peak, args=(there, d_in, d_sae, batch))
    worker.start()
    peak = here.recv()
    worker.join()
    n_parameters, block = 2 * d_in * d_sae + d_sae + d_in, 4 * math.prod(block_shape(torch.empty(batch, d_in), d_sae))
    return Figure(
        name=f"training/{d_in}-{d_sae}-{batch}/bytes_per_parameter",
        value=(peak - 1.5 * block) / n_parameters,
        n=1,
        unit="bytes",
        definition=f"(peak memory of BatchTopK steps - 1.5 blocks of scores) / parameters, {d_in} -> {d_sae:,}, "
        f"batch {batch:,}; least possible 16: weights, gradients, two moments",
    )


if __name__ == "__main__":
    arguments = options(__doc__)
    keep_freed_memory()
    found = measure(512, 4096, 4096, 3 if arguments.quick else 9)
    if not arguments.quick:
        found += measure(768, 16_384, 2048, 7) + measure(768, 16_384, 4096, 5) + per_latent(5)
        found += [memory(768, 16_384, 2048), memory(512, 65_536, 4096)]
    show("training", found, arguments.json)
