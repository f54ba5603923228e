"""A small transformer for tasks, for machines that have no other: trained here, at first use, on prompts of the task.

What it shows is that the measurements work: its variables are exact, independent and most of what it knows, as those of
a language model are not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.bounds import Seed
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.seeds import derive, generator
from sparselex.base.staging import stage
from sparselex.evaluate.supervised.general import Rows
from sparselex.lm.tokenizer import ROWS_BEGIN_WITH_BOS
from sparselex.tasks.ioi import Ioi
from sparselex.tasks.ioi_words import NAMES, OBJECTS, PLACES

KIND = "task model"
END = "<|endoftext|>"
NEUTRAL = "them"
"""What comes where three people are named and nobody twice: only who sees that a name comes again can tell."""


class TaskModelConfig(Config):
    """Recipe of the small transformer for indirect object identification."""

    n_names: PositiveInt = 60
    """Names that it knows, half of them for counterfactuals."""

    n_layers: PositiveInt = 3
    """Blocks."""

    n_heads: PositiveInt = 4
    """Attention heads of each."""

    d_model: PositiveInt = 128
    """Width of the residual stream."""

    three_names_share: PositiveFloat = 0.15
    """Share of the prompts with three names, of which none comes twice."""

    generic_share: PositiveFloat = 0.25
    """Share of the rows that are no prompts: words of the same vocabulary in an order of their own."""

    batch_rows: PositiveInt = 256
    """Rows in a step."""

    n_steps: PositiveInt = 1500
    """Most steps."""

    lr: PositiveFloat = 1e-3
    """Peak learning rate of AdamW."""

    least_accuracy: PositiveFloat = 0.99
    """Share of held-out prompts whose answer is the most likely token ..."""

    least_difference: PositiveFloat = 4.0
    """... and mean difference of the logits of both names at which training ends."""

    seed: Seed = 0
    """Seed of weights and prompts."""


def train_task_model(config: TaskModelConfig, to: Path) -> Path:
    """Train the transformer and leave it in `to` as a Hugging Face folder; one that is there already is kept. Raises
    `UserError` where it does not learn the task."""
    with stage(to, KIND, config, {}) as staging:
        if staging.made:
            manifest = open_artifact(to, KIND)
            for name in manifest.files:
                verified(to, name, manifest)
            return to
        language = _Language(config)
        model = _model(config, language)
        figures = _optimise(model, language, config)
        model.save_pretrained(staging.folder)
        language.tokenizer.save_pretrained(staging.folder)
        staging.finish(figures)
    return to


def mixture_rows(config: TaskModelConfig, n_tokens: int) -> Rows:
    """Rows of what the transformer was trained on, with so many tokens of text at least."""
    language = _Language(config)
    rows = Rows(*language.rows(64))
    n_rows = 64 * (n_tokens // int(rows.counted[:, 1:].sum()) + 1)
    return Rows(*language.rows(n_rows))


class _Language:
    """The prompts and what else is read, as rows of tokens that begin with BOS."""

    def __init__(self, config: TaskModelConfig):
        self.config = config
        self.chance = generator(config.seed, "task model")
        step = len(NAMES) / config.n_names
        names = [NAMES[int(number * step)] for number in range(min(config.n_names, len(NAMES)))]
        self.task = Ioi(names, OBJECTS, PLACES)
        self.tokenizer = _tokenizer([self.task.prompt(one).text for one in self._every()], [*names, NEUTRAL])
        backend = self.tokenizer.backend_tokenizer
        self.ids = lambda texts: [encoding.ids for encoding in backend.encode_batch_fast(texts)]
        self.n_vocab = len(self.tokenizer)
        self.follows = self.chance.integers(1, self.n_vocab, size=(self.n_vocab, 4))

    def rows(self, n: int) -> tuple[Tensor, Tensor]:
        """`[n, n_ctx]` tokens and which of them count in the loss: all that are text."""
        n_generic = round(n * self.config.generic_share)
        texts = [self._text(self._filling()) for _ in range(n - n_generic)]
        rows = [[0, *ids] for ids in self.ids(texts)]
        n_ctx = max(map(len, rows))
        rows += [self._walk(n_ctx) for _ in range(n_generic)]
        tokens = torch.tensor([[*row, *[0] * (n_ctx - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        return tokens, torch.arange(n_ctx) < lengths[:, None]

    def _filling(self) -> dict[str, str]:
        filling = dict(self.task.fillings(1, "fit", self.chance)[0])
        filling["place"], filling["object"] = (str(self.chance.choice(words)) for words in (PLACES, OBJECTS))
        return filling

    def _text(self, filling: dict[str, str]) -> str:
        prompt = self.task.prompt(filling)
        if self.chance.random() >= self.config.three_names_share:
            return prompt.text + prompt.answer
        third = str(self.chance.choice([name for name in self.task.names if name not in (filling["IO"], filling["S"])]))
        start, stop = prompt.roles["S2"]
        return f"{prompt.text[:start]} {third}{prompt.text[stop:]} {NEUTRAL}"

    def _walk(self, n_ctx: int) -> list[int]:
        """Words of which each has four that may follow it."""
        row = [0, int(self.chance.integers(1, self.n_vocab))]
        while len(row) < n_ctx:
            row.append(int(self.follows[row[-1], self.chance.integers(4)]))
        return row

    def _every(self) -> Iterator[dict[str, str]]:
        """Fillings in which every word occurs."""
        words = {"place": PLACES, "object": OBJECTS}
        filling = dict(self.task.fillings(1, "fit", self.chance)[0])
        templates = {one["template"]: one for one in self.task.fillings(200, "fit", self.chance)}
        for template in sorted(templates):
            yield {**filling, "template": template}
            for slot, choices in words.items():
                for word in choices:
                    yield {**filling, "template": template, slot: word}


def _tokenizer(texts: list[str], names: list[str]) -> PreTrainedTokenizerFast:
    """A word is a token, with the space before it."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found = {piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)}
    words = sorted(found | {f"Ġ{name}" for name in names})
    tokenizer = Tokenizer(models.WordLevel({END: 0} | {word: number + 1 for number, word in enumerate(words)}, END))
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, model_max_length=32, **{ROWS_BEGIN_WITH_BOS: True}
    )


def _model(config: TaskModelConfig, language: _Language) -> GPT2LMHeadModel:
    torch.manual_seed(derive(config.seed, "weights") % 2**31)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=language.n_vocab,
            n_positions=32,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            activation_function="relu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def _optimise(model: GPT2LMHeadModel, language: _Language, config: TaskModelConfig) -> dict[str, Any]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.01)
    tokens, counted = language.rows(100 * config.batch_rows)
    draws = torch.Generator().manual_seed(derive(config.seed, "order"))
    held_out = _HeldOut(language)
    found = (0.0, 0.0)
    with progress("train the task's model", config.n_steps, "steps") as bar:
        for step in range(config.n_steps):
            rows = torch.randint(len(tokens), (config.batch_rows,), generator=draws)
            loss = _loss(model, tokens[rows], counted[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.param_groups[0]["lr"] = config.lr * min(1.0, (step + 1) / 100)
            optimiser.step()
            optimiser.zero_grad()
            bar.advance(1)
            if (step + 1) % 50 == 0:
                found = held_out.measured(model)
                bar.show(loss=loss.item(), accuracy=found[0], difference=found[1])
                if found[0] >= config.least_accuracy and found[1] >= config.least_difference:
                    return {"n_steps": step + 1, "accuracy": found[0], "logit_difference": found[1]}
    raise UserError(
        f"The task's model has learnt {100 * found[0]:.1f} % of held-out prompts in {config.n_steps} steps, with a "
        f"mean logit difference of {found[1]:.2f}.",
        f"{100 * config.least_accuracy:g} % and {config.least_difference:g}",
        "give it more steps, or another seed.",
    )


def _loss(model: GPT2LMHeadModel, tokens: Tensor, counted: Tensor) -> Tensor:
    logits = model(tokens[:, :-1]).logits
    each = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    weights = counted[:, 1:].flatten().float()
    return (each * weights).sum() / weights.sum()


class _HeldOut:
    """Prompts of the tested part, drawn anew."""

    def __init__(self, language: _Language, n: int = 512):
        prompts = [language.task.prompt(one) for one in language.task.fillings(n, "evaluate", generator(1, "held out"))]
        rows = [[0, *ids] for ids in language.ids([prompt.text for prompt in prompts])]
        n_ctx = max(map(len, rows))
        self.tokens = torch.tensor([[*row, *[0] * (n_ctx - len(row))] for row in rows])
        self.ends = torch.tensor([len(row) - 1 for row in rows])
        self.answers, self.others = (
            torch.tensor(language.ids([getattr(prompt, which) for prompt in prompts]))[:, 0]
            for which in ("answer", "other")
        )

    @torch.no_grad()
    def measured(self, model: GPT2LMHeadModel) -> tuple[float, float]:
        """Share of answers that are the most likely token, and the mean difference of logits."""
        each = torch.arange(len(self.ends))
        logits = model(self.tokens).logits[each, self.ends]
        difference = logits[each, self.answers] - logits[each, self.others]
        accuracy = (logits.argmax(-1) == self.answers).float().mean()
        return round(float(accuracy), 4), round(float(difference.mean()), 4)
