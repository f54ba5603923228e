"""Edited passes against what they must cost: layers behind the edit, on the tokens from the edit on.

At SmolLM2's shape with random weights (or `--model smollm2`, the model itself). What must be paid is measured on the
bare model of transformers, in the same round: a whole pass, and a loop over the blocks behind the site with the final
norm and the unembedding. Goals: variants 0.91 of that (1 / 1.1), prompts edited at their last token 6 times as fast as
run whole, 64 latents ablated 0.87 of the same rows without edits, attribution of all latents at most 3 passes (0.33),
an evaluation with its default controls 0.87 of its variants (1 / 1.15).
"""

from collections.abc import Iterable

import numpy as np
import torch
import transformers
from torch import Tensor

from benchmarks.corpus import small_corpus
from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.activations.live import Reader
from sparselex.base.figures import Figure
from sparselex.base.memory import keep_freed_memory
from sparselex.base.sites import Sites
from sparselex.causal.attribution import attributions
from sparselex.causal.edits import ablate, add, bound
from sparselex.causal.latents import Latents
from sparselex.causal.variants import variants
from sparselex.causal.where import at
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.evaluate.config import PAIR_LOOKUP, TOKEN_LOOKUP, EvaluateConfig
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.core import core_sums
from sparselex.evaluate.moments import moments, training_sample
from sparselex.evaluate.subjects import InPlaceOf, Itself, PairLookup, Subject, TokenLookup
from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model

LAYER = 15
HOOK = f"blocks.{LAYER}.hook_resid_post"


def smollm2_shaped() -> TransformersModel:
    """Random weights in SmolLM2-135M's shape, with the embedded model's tokenizer."""
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    return TransformersModel(
        transformers.LlamaForCausalLM(shape), load_model("embedded").tokenizer, ModelConfig(name="smollm2-shape")
    )


@torch.no_grad()
def behind(model: TransformersModel, stream: Tensor) -> Tensor:
    """Logits of the stream after `LAYER`, by the bare blocks."""
    inner = model.hf.model
    rotary = inner.rotary_emb(stream, torch.arange(stream.shape[1])[None])
    for block in inner.layers[LAYER + 1 :]:
        stream = block(stream, position_embeddings=rotary)
        stream = stream[0] if isinstance(stream, tuple) else stream
    return model.hf.lm_head(inner.norm(stream))


@torch.no_grad()
def whole(model: TransformersModel, tokens: Tensor) -> Tensor:
    """Logits of a whole pass of the bare model."""
    return model.hf(input_ids=tokens, use_cache=False).logits


def of_variants(model: TransformersModel, tokens: Tensor, n_rounds: int) -> Figure:
    """Seven directions added after the layer, one after another, at all tokens."""
    stream = model.read(tokens, [HOOK])[HOOK]
    directions = torch.randn(7, model.d_model)

    def must() -> None:
        whole(model, tokens)
        for direction in directions:
            behind(model, stream + direction)

    def ours() -> None:
        kept = model.keep(tokens, HOOK)
        model.predict(kept.last.flatten(0, 1))
        for direction in directions:
            model.predict(model.last(kept, bound(add(HOOK, direction))).flatten(0, 1))

    times = interleaved({"must": must, "ours": ours}, n_rounds)
    where = f"{tokens.shape[0]} rows of {tokens.shape[1]} tokens, {torch.get_num_threads()} threads"
    said = "seven edits behind a layer: a whole pass and seven times what follows / ours, " + where
    return ratio("causal/variants", times["must"], times["ours"], said)


def of_prompts(model: TransformersModel, n_rounds: int) -> Figure:
    """500 prompts of 18 tokens, each edited at its last."""
    tokens = torch.randint(0, model.n_vocab, (500, 18))
    directions, rows = torch.randn(500, model.d_model), torch.arange(500)
    kept = model.keep(tokens, HOOK)

    def run(parts: Iterable[Tensor]) -> None:
        for last in parts:
            model.predict(last[:, -1])

    edits = add(HOOK, directions, where=at(17))
    stop = bound([edits[0].of(rows[:100])])
    times = interleaved(
        {
            "whole": lambda: run(model.last(part, stop) for part in tokens.split(100)),
            "ours": lambda: run(some.last for some in variants(model, kept, rows, edits)),
        },
        n_rounds,
    )
    said = "500 prompts of 18 tokens edited at the last: whole passes / ours, the kept pass not counted"
    return ratio("causal/last token", times["whole"], times["ours"], said)


def of_latents(model: TransformersModel, latents: Latents, n_rounds: int) -> list[Figure]:
    """64 latents ablated in rows of one batch, the row a prompt of 64 tokens."""
    tokens = torch.randint(0, model.n_vocab, (1, 64))
    kept, numbers = model.keep(tokens, HOOK), torch.arange(64)
    rows = torch.zeros(64, dtype=torch.long)
    acts = latents.dictionary.encode(kept.values[0].float())[:, :64].T
    made = {"encoded": ablate(latents, numbers), "known": ablate(latents, numbers, known=acts)}
    contenders = {"plain": lambda: model.last(kept.of(rows))}
    for name, edits in made.items():
        contenders[name] = lambda edits=edits: [None for _ in variants(model, kept, rows, edits)]
    times = interleaved(contenders, n_rounds)
    said = "64 latents ablated in one batch: the rows without edits / with them, activations "
    return [ratio(f"causal/latents, {name}", times["plain"], times[name], said + name) for name in made]


def of_attribution(model: TransformersModel, latents: Latents, tokens: Tensor, n_rounds: int) -> Figure:
    """All latents at one site, the pass that is kept counted."""
    metric = lambda logits: logits[:, -1, 0].sum()
    times = interleaved(
        {
            "whole": lambda: whole(model, tokens),
            "ours": lambda: attributions(model, model.keep(tokens, HOOK), latents, metric),
        },
        n_rounds,
    )
    said = f"attribution of all {latents.dictionary.d_sae:,} latents: one whole pass / ours"
    return ratio("causal/attribution", times["whole"], times["ours"], said)


def of_evaluation(model: TransformersModel, dictionary: Dictionary, n_rounds: int) -> Figure:
    """A dictionary and its default controls spliced, whose reconstructions are part of ours and not of what must be:
    that is a whole pass, what follows of each variant, and its logits normalised."""
    corpus = small_corpus(model, 60_000)
    reader = Reader(model, corpus, Sites.at(HOOK))
    at = moments(reader, 16)
    sample = lambda: training_sample(reader, 16)
    controls = control_dictionaries(
        EvaluateConfig().controls, at.mean, at.covariance, sample, d_sae=dictionary.d_sae, k=32, n_steps=8
    )
    subjects: dict[str, Subject] = {"": Itself(dictionary), TOKEN_LOOKUP: TokenLookup(at, corpus)}
    subjects |= {PAIR_LOOKUP: PairLookup(at, corpus)}
    subjects |= {name: InPlaceOf(control, "") for name, control in controls.items()}
    rows = np.array(corpus.row_ranges["test"])[:8]
    tokens, n_variants = reader.tokens(rows), len(subjects) + 2  # at the mean and at zero
    stream = model.read(tokens, [HOOK])[HOOK]

    def must() -> None:
        whole(model, tokens).log_softmax(-1)
        for _ in range(n_variants):
            behind(model, stream).log_softmax(-1)

    times = interleaved({"must": must, "ours": lambda: core_sums(reader, subjects, at.mean, rows)}, n_rounds)
    said = (
        f"evaluation of {len(rows)} rows, {n_variants} variants: what these must cost / ours, reconstructions included"
    )
    return ratio("causal/evaluation", times["must"], times["ours"], said)


if __name__ == "__main__":
    arguments = options(__doc__, model="measure this model instead; it must have SmolLM2's layers")
    n_rounds = 3 if arguments.quick else 5
    keep_freed_memory()
    torch.manual_seed(0)
    subject = load_model(arguments.model) if arguments.model else smollm2_shaped()
    assert isinstance(subject, TransformersModel)
    tokens = torch.randint(0, subject.n_vocab, (4, 128))
    dictionary = new_dictionary(TopKConfig(d_in=576, d_sae=4608, k=32), torch.Generator().manual_seed(0))
    latents = Latents.of(dictionary, subject, HOOK)
    found = [of_variants(subject, tokens, n_rounds), of_prompts(subject, n_rounds)]
    found += [*of_latents(subject, latents, n_rounds), of_attribution(subject, latents, tokens, n_rounds)]
    found.append(of_evaluation(subject, dictionary, n_rounds))
    show("causal", found, arguments.json)
