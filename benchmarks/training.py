"""The optimiser step of a BatchTopK dictionary against the encoder's matrix product alone, and against dense autograd.

Limit: a step must do the encoder's product, 2 n d_in d_sae operations; everything else shrinks with the number of active latents.
"""

from collections.abc import Callable

import torch

from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.base.records import Figure
from sparselex.dictionaries.batchtopk import BatchTopK, BatchTopKConfig
from sparselex.dictionaries.sparse import decode_at


def sparse_step(config: BatchTopKConfig, x: torch.Tensor) -> Callable[[], None]:
    """Our step: codes, decode, gradients, clipping, Adam."""
    dictionary = BatchTopK(config, torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        codes = dictionary.training_codes(x)
        x_hat = decode_at(codes, dictionary.W_dec, dictionary.b_dec)
        loss = (x_hat - x).square().sum() / len(x)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dictionary.parameters(), 1.0)
        optimiser.step()

    return step


def dense_step(config: BatchTopKConfig, x: torch.Tensor) -> Callable[[], None]:
    """The same mathematics by dense autograd with a top-k mask per token (a whole-batch top-k would be slower still)."""
    dictionary = BatchTopK(config, torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        pre = ((x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc).relu()
        kept = pre.topk(config.k, dim=-1)
        acts = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values)
        loss = (acts @ dictionary.W_dec + dictionary.b_dec - x).square().sum() / len(x)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dictionary.parameters(), 1.0)
        optimiser.step()

    return step


def measure(d_in: int, d_sae: int, batch: int, n_rounds: int) -> list[Figure]:
    """Ratios at one size."""
    config = BatchTopKConfig(d_in=d_in, d_sae=d_sae, k=32)
    generator = torch.Generator().manual_seed(1)
    x, W = torch.randn(batch, d_in, generator=generator), torch.randn(d_in, d_sae, generator=generator)
    contenders = {"product": lambda: x @ W, "sparse": sparse_step(config, x), "dense": dense_step(config, x)}
    times = interleaved(contenders, n_rounds)
    size = f"{d_in}-{d_sae}"
    where = f"BatchTopK {d_in} -> {d_sae:,}, k 32, batch {batch:,}, float32, {torch.get_num_threads()} threads"
    return [
        ratio(
            f"training/{size}/ratio_to_encoder_gemm",
            times["product"],
            times["sparse"],
            f"step / encoder product, {where}",
        ),
        ratio(
            f"training/{size}/ratio_to_dense_autograd", times["dense"], times["sparse"], f"step / dense step, {where}"
        ),
    ]


if __name__ == "__main__":
    arguments = options(__doc__)
    n_rounds = 3 if arguments.quick else 9
    found = measure(512, 4096, 4096, n_rounds)
    found += [] if arguments.quick else measure(768, 16384, 2048, 5)
    show("training", found, arguments.json)
