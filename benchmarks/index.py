"""The index pass against forward pass and encoding alone: same model, same dictionary, same batches.

The reference runs the model to the hook and encodes every token, and keeps nothing: the limit is 1. What an index has
to do beside is to order its entries once (8 bytes each, read and written twice), and go through them for each thing
that it counts. At the shape of a latent cache that was measured elsewhere (`--model gpt2-shape`: 768 -> 16,384 latents,
32,768 tokens) it also says how much memory the build takes beyond model and dictionary, and features per second.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

from benchmarks.corpus import small_corpus
from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.activations.live import Reader
from sparselex.base.figures import Figure
from sparselex.base.sites import Sites
from sparselex.dictionaries.types.batchtopk import BatchTopK, BatchTopKConfig
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model
from sparselex.text.splits import SPLITS

CASES = {
    "embedded": ("blocks.0.mlp.hook_post", 4_096, 300_000, 60_000),
    "smollm2": ("blocks.15.hook_resid_post", 4_608, 8_192, 4_096),
    "gpt2-shape": ("blocks.1.hook_resid_post", 16_384, 32_768, 32_768),
}
"""Where each model is read, latents, and tokens, all and quick."""

PEER_MIB, PEER_FEATURES = 589, 1.84
"""At the last of these, on two cores: memory that delphi's latent cache took beyond its start, and features per second
that SAEDashboard finished (one batch of 64)."""


def trained_like(x: torch.Tensor, d_sae: int) -> BatchTopK:
    """An untrained BatchTopK dictionary whose threshold gives an L0 of 32 on `x`."""
    config = BatchTopKConfig(d_in=x.shape[1], d_sae=d_sae, k=32)
    dictionary = BatchTopK(config, torch.Generator().manual_seed(0))
    dictionary.prepare(x, x)
    with torch.no_grad():
        scores = dictionary.pre_acts(x[:1000])
        dictionary.threshold.fill_(float(scores.flatten().topk(32 * len(scores)).values[-1]))
    return dictionary.requires_grad_(False)


def subject(name: str) -> TransformersModel:
    """The model of a case."""
    if name != "gpt2-shape":
        return load_model(name)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=2, vocab_size=8000))
    return TransformersModel(model, load_model("embedded").tokenizer, ModelConfig(name=name))


def memory(name: str) -> int:
    """A line of what the system tells of this process' memory, in MiB: VmRSS is now, VmHWM the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024


def forget_the_most() -> None:
    """Let the most so far begin at what is in use now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak(build: Callable[[], None]) -> int:
    """MiB that a build takes beyond what was in use before it."""
    before = memory("VmRSS")
    forget_the_most()
    build()
    return memory("VmHWM") - before


if __name__ == "__main__":
    arguments = options(__doc__, model="embedded (the default), smollm2 or gpt2-shape")
    name = arguments.model or "embedded"
    hook, d_sae, *sizes = CASES[name]
    model = subject(name)
    corpus = small_corpus(model, sizes[arguments.quick])
    sites = Sites.at(hook)
    reader = Reader(model, corpus, sites, batch_rows=8 if name != "embedded" else 32)
    dictionary = trained_like(next(reader.batches(["train"])).x, d_sae)
    folder, number = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-")), iter(range(10**6))
    n, config = corpus.manifest.notes["n_tokens"], IndexConfig(batch_rows=reader.batch_rows)
    where = f"{dictionary.d_in} -> {d_sae:,} latents at L0 about 32, {n:,} tokens, {torch.get_num_threads()} threads"

    def reference() -> None:
        with torch.no_grad():
            for batch in reader.batches(SPLITS):
                dictionary.encode_sparse(batch.x)

    def index() -> None:
        to = folder / str(next(number))
        build_index(model, dictionary, corpus, sites, config, to, inputs={"corpus": corpus.id})

    figures = []
    if name == "gpt2-shape":  # in a process that has not built anything yet
        taken = peak(index)
        figures.append(
            Figure(
                name="index/gpt2-shape/memory",
                value=taken / PEER_MIB,
                n=1,
                definition=f"memory beyond model and dictionary, of delphi's {PEER_MIB} MiB: {taken} MiB; {where}",
            )
        )
    times = interleaved({"reference": reference, "index": index}, 3 if arguments.quick else 5)
    words = f"whole index (columns, statistics, examples, directions, files) / forward + encode, {where}"
    figures.append(ratio(f"index/{name}/whole", times["reference"], times["index"], words))
    if name == "gpt2-shape":
        rate = d_sae / times["index"]
        words = f"features a second / SAEDashboard's {PEER_FEATURES}, {where}"
        figures.append(ratio("index/gpt2-shape/features", rate, np.full(len(rate), PEER_FEATURES), words))
    show("index", figures, arguments.json)
