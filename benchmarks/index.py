"""The index pass against forward pass and encoding alone: same model, same dictionary, same batches.

The reference runs the model to the hook and encodes every token, and keeps nothing. The limit is 1.
"""

import tempfile
from pathlib import Path

import torch

from benchmarks.corpus import small_corpus
from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.activations.live import Reader
from sparselex.base.sites import Sites
from sparselex.dictionaries.types.batchtopk import BatchTopK, BatchTopKConfig
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.lm.load import load_model
from sparselex.text.splits import SPLITS

HOOK = "blocks.0.mlp.hook_post"


def trained_like(x: torch.Tensor) -> BatchTopK:
    """An untrained BatchTopK dictionary 512 -> 4,096 whose threshold gives an L0 of 32 on `x`."""
    dictionary = BatchTopK(BatchTopKConfig(d_in=512, d_sae=4096, k=32), torch.Generator().manual_seed(0))
    dictionary.prepare(x, x)
    with torch.no_grad():
        scores = dictionary.pre_acts(x[:2000])
        dictionary.threshold.fill_(float(scores.flatten().topk(32 * len(scores)).values[-1]))
    return dictionary.requires_grad_(False)


if __name__ == "__main__":
    arguments = options(__doc__)
    model = load_model("embedded")
    corpus = small_corpus(model, 60_000 if arguments.quick else 300_000)
    sites = Sites.at(HOOK)
    reader = Reader(model, corpus, sites, batch_rows=32)
    dictionary = trained_like(next(reader.batches(["train"])).x)
    folder, number = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-")), iter(range(10**6))

    def reference() -> None:
        with torch.no_grad():
            for batch in reader.batches(SPLITS):
                dictionary.encode_sparse(batch.x)

    def index() -> None:
        to = folder / str(next(number))
        build_index(model, dictionary, corpus, sites, IndexConfig(), to, inputs={"corpus": corpus.id})

    times = interleaved({"reference": reference, "index": index}, 3 if arguments.quick else 5)
    n = corpus.manifest.notes["n_tokens"]
    where = f"512 -> 4,096 latents at L0 about 32, {n:,} tokens, {torch.get_num_threads()} threads"
    words = f"whole index (columns, statistics, examples, directions, files) / forward + encode, {where}"
    show("index", [ratio("index/embedded/whole", times["reference"], times["index"], words)], arguments.json)
