"""Harvest against the bare forward pass: same model, same batches, stopped at the same layer.

The bare pass is the Hugging Face model called with one hook that raises; it keeps nothing. The limit is 1. The embedded
model is so small that everything beside it shows; a model of GPT-2's shape (12 layers, width 768, random weights) is
what users have.
"""

import contextlib
import tempfile
from pathlib import Path

import torch
import transformers

from benchmarks.corpus import small_corpus
from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.live import Reader
from sparselex.base.figures import Figure
from sparselex.base.memory import keep_freed_memory
from sparselex.base.sites import Sites
from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model

ROWS = 8


class _Stop(Exception):
    pass


def bare(model: TransformersModel, hook: str, tokens: torch.Tensor) -> None:
    """Forward passes that stop at the module of `hook` and keep nothing."""
    site = model.resolve(hook)
    module = model.hf.get_submodule(site.path)

    def stop(*_: object) -> None:
        raise _Stop

    handle = module.register_forward_pre_hook(stop) if site.side == "input" else module.register_forward_hook(stop)
    try:
        with torch.no_grad():
            for part in tokens.split(ROWS):
                with contextlib.suppress(_Stop):
                    model.hf(input_ids=part, attention_mask=torch.ones_like(part), use_cache=False)
    finally:
        handle.remove()


def gpt2_shaped() -> TransformersModel:
    """Random weights in GPT-2 small's shape, with the embedded model's tokenizer."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    return TransformersModel(model, load_model("embedded").tokenizer, ModelConfig(name="gpt2-shaped"))


def measure(name: str, model: TransformersModel, hook: str, n_rows: int, n_rounds: int) -> list[Figure]:
    """Ratios of live reading and of harvesting to disk."""
    corpus = small_corpus(model, n_rows * 170)
    sites = Sites.at(hook)
    reader = Reader(model, corpus, sites, batch_rows=ROWS)
    rows = corpus.row_ranges["train"]
    tokens = torch.from_numpy(corpus.tokens[rows.start : rows.stop].astype("int64"))
    folder, number = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-")), iter(range(10**6))
    config = HarvestConfig(batch_rows=ROWS, shard_rows=256)
    keep_freed_memory()
    times = interleaved(
        {
            "bare": lambda: bare(model, hook, tokens),
            "live": lambda: [None for _ in reader.batches(["train"])],
            "harvest": lambda: harvest(model, corpus, sites, config, folder / str(next(number))),
        },
        n_rounds,
    )
    where = f"{name}, {hook}, {len(rows)} rows of 128, batches of {ROWS} rows, {torch.get_num_threads()} threads"
    return [
        ratio(f"harvest/{name}/live", times["bare"], times["live"], f"live activations / bare forward, {where}"),
        ratio(f"harvest/{name}/disk", times["bare"], times["harvest"], f"shards on disk / bare forward, {where}"),
    ]


def named(name: str) -> list[Figure]:
    """The ratios of a model called by name, in two precisions."""
    found = []
    for dtype in ("float32", "bfloat16"):
        model = load_model(ModelConfig(name=name, dtype=dtype))
        found += measure(f"{name}-{dtype}", model, f"blocks.{model.n_layers // 2}.hook_resid_post", 400, 3)
    return found


if __name__ == "__main__":
    arguments = options(__doc__, model="measure this model instead, after its middle layer, in float32 and bfloat16")
    n_rounds = 3 if arguments.quick else 7
    if arguments.model:
        found = named(arguments.model)
    else:
        found = measure("gpt2-shape", gpt2_shaped(), "blocks.6.hook_resid_pre", 64 if arguments.quick else 320, 3)
        found += measure("embedded", load_model("embedded"), "blocks.0.mlp.hook_post", 4000, n_rounds)
    show("harvest", found, arguments.json)
