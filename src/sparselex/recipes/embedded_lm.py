"""How the embedded subject models were made: `python -m sparselex.recipes.embedded_lm OUT [--seed N]`.

A one-layer transformer of the 2023 paper's shape (residual width 128, MLP width 512, ReLU) on the source text of
the Python standard library. Two models are shipped, alike but for their seed. The tokenizer is trained on the same
training modules, so both models share it. A model card with the held-out figures is written beside the weights.
"""

import argparse
import lzma
import math
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from sparselex.base.config import Config
from sparselex.base.progress import progress
from sparselex.lm.embedded import LEARNED
from sparselex.lm.tokenizer import ROWS_BEGIN_WITH_BOS
from sparselex.text.config import HeldOutDocuments
from sparselex.text.documents import Document
from sparselex.text.sources import load_documents
from sparselex.text.splits import is_held_out

END = "<|endoftext|>"

_LEARNED = LEARNED["embedded"]


class EmbeddedConfig(Config):
    """Recipe of one embedded model."""

    seed: int = 0
    """Seed of the weights and of the order of the data; the only thing in which the two models differ."""

    n_vocab: PositiveInt = 4096
    """Tokens of the byte-level BPE vocabulary."""

    n_ctx: PositiveInt = 256
    """Tokens in a row."""

    batch_rows: PositiveInt = 32
    """Rows in an optimiser step."""

    n_tokens: PositiveInt = 40_000_000
    """Tokens trained on; the text is passed several times."""

    lr_adam: PositiveFloat = 5e-3
    """Peak learning rate of embeddings, unembedding and norms."""

    lr_muon: PositiveFloat = 0.015
    """Peak learning rate of the block's matrices."""

    held_out_share: float = _LEARNED.held_out_share
    """Share of modules kept out of tokenizer and model training."""


def train_embedded(config: EmbeddedConfig, to: Path) -> dict[str, Any]:
    """Train one model, write it to `to` as a Hugging Face folder, and return the figures of its card."""
    train, held_out = _divide(load_documents(_LEARNED.text), config)
    tokenizer = train_tokenizer((document.text for document in train), config.n_vocab)
    stream = _stream(tokenizer, train)
    held_out_stream = _stream(tokenizer, held_out)
    model = _model(config)
    _optimise(model, stream, config)
    model = model.half().float()  # the figures are those of the weights as shipped
    n_bytes = sum(len(document.text.encode()) for document in held_out)
    figures = {
        "bits_per_byte": _bits(model, held_out_stream, config.n_ctx) / n_bytes,
        "ngram_bits_per_byte": _ngram_bits(stream.tolist(), held_out_stream.tolist(), config.n_vocab) / n_bytes,
        "xz_bits_per_byte": _xz_bits(held_out) / n_bytes,
        "n_modules": len(train),
        "n_modules_held_out": len(held_out),
        "n_bytes_held_out": n_bytes,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_steps": _n_steps(config),
    }
    _write(model, tokenizer, config, figures, to)
    return figures


def train_tokenizer(texts: Iterable[str], n_vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer: any text, any script, comes back byte for byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=n_vocab, special_tokens=[END], initial_alphabet=alphabet, show_progress=False),
    )
    return tokenizer


def _divide(documents: Iterable[Document], config: EmbeddedConfig) -> tuple[list[Document], list[Document]]:
    train: list[Document] = []
    held_out: list[Document] = []
    drawn = HeldOutDocuments(share=config.held_out_share, seed=_LEARNED.seed)
    for document in documents:
        (held_out if is_held_out(document.name, drawn) else train).append(document)
    return train, held_out


def _stream(tokenizer: Tokenizer, documents: list[Document]) -> Tensor:
    end = tokenizer.token_to_id(END)
    assert end is not None
    ids: list[int] = []
    for encoding in tokenizer.encode_batch_fast([document.text for document in documents]):
        ids += [*encoding.ids, end]
    return torch.tensor(ids)


def _model(config: EmbeddedConfig) -> GPTNeoXForCausalLM:
    torch.manual_seed(config.seed)
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=config.n_vocab,
            hidden_size=128,
            intermediate_size=512,
            hidden_act="relu",
            num_hidden_layers=1,
            num_attention_heads=4,
            rotary_pct=1.0,
            use_parallel_residual=False,
            max_position_embeddings=config.n_ctx,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def _n_steps(config: EmbeddedConfig) -> int:
    return config.n_tokens // (config.batch_rows * config.n_ctx)


def _optimise(model: GPTNeoXForCausalLM, stream: Tensor, config: EmbeddedConfig) -> None:
    """Muon on the block's matrices, AdamW on the rest; warm-up, plateau, linear decay over the last 40 %."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimisers = {
        torch.optim.Muon(matrices, lr=config.lr_muon, momentum=0.95, weight_decay=0.01): config.lr_muon,
        torch.optim.AdamW(others, lr=config.lr_adam, betas=(0.9, 0.98), weight_decay=0.01, fused=True): config.lr_adam,
    }
    generator = torch.Generator().manual_seed(config.seed)
    n_steps, width = _n_steps(config), config.n_ctx
    with progress("train", n_steps * config.batch_rows * width, "tokens") as bar:
        for step in range(n_steps):
            starts = torch.randint(0, len(stream) - width, (config.batch_rows, 1), generator=generator)
            rows = stream[starts + torch.arange(width + 1)]
            rows[:, 0] = 0  # as in use: every row begins with the end-of-text token
            loss = _loss(model, rows)
            loss.backward()
            factor = min(1.0, (step + 1) / 200, (n_steps - step) / (0.4 * n_steps))
            for optimiser, lr in optimisers.items():
                optimiser.param_groups[0]["lr"] = lr * factor
                optimiser.step()
                optimiser.zero_grad()
            bar.advance(config.batch_rows * width)
            if step % 50 == 0:
                bar.show(loss=loss.item())


def _loss(model: GPTNeoXForCausalLM, rows: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.gpt_neox(rows[:, :-1]).last_hidden_state
    weight = model.get_output_embeddings().weight
    return _LinearCrossEntropy.apply(hidden.float().flatten(0, 1), weight, rows[:, 1:].flatten())


class _LinearCrossEntropy(torch.autograd.Function):
    """Unembedding and cross-entropy in one, gradients made on the way: logits exist for 1,024 tokens at a time.

    Half of the training time of so small a model goes into its 4,096 logits; bf16 products and one pass over the
    logits made a step about 2.3 times faster than the plain loss on two cores.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        n = len(targets)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        low, total = weight.bfloat16(), 0.0
        for start in range(0, n, 1024):
            part = slice(start, start + 1024)
            h, y = hidden[part].bfloat16(), targets[part, None]
            logits = (h @ low.T).float()
            log_norm = logits.logsumexp(-1, keepdim=True)
            total += (log_norm - logits.gather(1, y)).sum().item()
            grad = logits.sub_(log_norm).exp_().scatter_add_(1, y, torch.full_like(y, -1.0, dtype=torch.float32))
            grad = grad.bfloat16()
            grad_hidden[part] = (grad @ low).float() / n
            grad_weight += (grad.T @ h).float() / n
        ctx.save_for_backward(grad_hidden, grad_weight)
        return hidden.new_tensor(total / n)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grads[0] * grad_hidden, grads[0] * grad_weight, None


@torch.no_grad()
def _bits(model: GPTNeoXForCausalLM, stream: Tensor, n_ctx: int) -> float:
    """Total bits of the stream: each row sees the end-of-text token and its own tokens only, none is left out."""
    width = n_ctx - 1
    padded = nn.functional.pad(stream, (0, -len(stream) % width), value=-100).view(-1, width)
    total = 0.0
    for targets in padded.split(64):
        inputs = nn.functional.pad(targets.clamp(min=0), (1, 0), value=0)[:, :-1]
        logits = model(inputs).logits.flatten(0, 1)
        total += nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="sum").item()
    return total / math.log(2)


def _ngram_bits(train: list[int], held_out: list[int], n_vocab: int, order: int = 3) -> float:
    """Bits under an interpolated n-gram model of tokens (Witten-Bell smoothing, orders 1 to `order`)."""
    counts: list[Counter] = [Counter() for _ in range(order)]
    totals: list[Counter] = [Counter() for _ in range(order)]
    kinds: list[Counter] = [Counter() for _ in range(order)]
    for n in range(order):
        for gram in zip(*(train[i:] for i in range(n + 1)), strict=False):
            counts[n][gram] += 1
        for gram, count in counts[n].items():
            totals[n][gram[:-1]] += count
            kinds[n][gram[:-1]] += 1
    bits = 0.0
    for i, token in enumerate(held_out):
        p = 1 / n_vocab
        for n in range(min(order, i + 1)):
            context = tuple(held_out[i - n : i])
            if total := totals[n][context]:
                p = (counts[n][(*context, token)] + kinds[n][context] * p) / (total + kinds[n][context])
        bits -= math.log2(p)
    return bits


def _xz_bits(documents: list[Document]) -> float:
    joined = "".join(document.text for document in documents).encode()
    return 8 * len(lzma.compress(joined, preset=9 | lzma.PRESET_EXTREME))


def _write(
    model: GPTNeoXForCausalLM, tokenizer: Tokenizer, config: EmbeddedConfig, figures: dict[str, Any], to: Path
) -> None:
    model.half().save_pretrained(to)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        model_max_length=config.n_ctx,
        **{ROWS_BEGIN_WITH_BOS: True},
    ).save_pretrained(to)
    (to / "README.md").write_text(_card(config, figures), encoding="utf-8")


def _card(config: EmbeddedConfig, figures: dict[str, Any]) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return f"""# The embedded model, seed {config.seed}

A one-layer GPT-NeoX transformer: residual width 128, MLP width 512 (ReLU), 4 heads, context {config.n_ctx}, vocabulary
{config.n_vocab} (byte-level BPE), {figures["n_parameters"]:,} parameters in half precision. The other model that is
shipped differs in the seed alone.

- **Data**: the source text of the standard library of Python {python}, with its test suite; {figures["n_modules"]:,}
  modules to train on, {figures["n_modules_held_out"]} held out ({figures["n_bytes_held_out"]:,} bytes), divided by a
  hash of their names.
- **Training**: {figures["n_steps"]:,} steps of {config.batch_rows} x {config.n_ctx} tokens ({config.n_tokens / 1e6:.0f}
  M tokens), Muon and AdamW, by `python -m sparselex.recipes.embedded_lm OUT --seed {config.seed}`.

| model, on the held-out modules | bits per byte |
|---|---|
| this transformer | {figures["bits_per_byte"]:.4f} |
| interpolated trigram model on the same tokens | {figures["ngram_bits_per_byte"]:.4f} |
| xz (preset 9, extreme), all held-out modules in one file | {figures["xz_bits_per_byte"]:.4f} |

Every byte of the held-out modules counts, and no row sees further back than {config.n_ctx - 1} tokens. It knows Python
source and nothing else: use it to try things, not to judge them.
"""


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-tokens", type=int, default=EmbeddedConfig().n_tokens)
    arguments = parser.parse_args()
    figures = train_embedded(EmbeddedConfig(seed=arguments.seed, n_tokens=arguments.n_tokens), arguments.out)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
