"""What a run's model writes while one of its latents is held."""

from collections.abc import Sequence

import numpy as np

from sparselex.base.errors import UserError
from sparselex.base.seeds import derive, generator
from sparselex.base.vocabulary import Vocabulary
from sparselex.causal.pinned import Pin, Sampling, Wrote
from sparselex.evaluate.pinned.walk import raised_by
from sparselex.features.index import FeatureIndex
from sparselex.recipes.pinned_records import PREFIX, At, Pinned, PinnedSample, PinnedText, PinnedToken
from sparselex.recipes.prompts import Prompts

MOST_SAMPLES = 100
"""Texts of each kind that are written at most."""

_LEAST_ACTIVE = 10
"""Training tokens on which the other latent must be active."""


def pinned(
    prompts: Prompts,
    index: FeatureIndex,
    latent: int,
    *,
    value: float | None = None,
    at: At = "all",
    prompt: str = PREFIX,
    n_samples: int = 3,
    n_new: int = 40,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Pinned:
    """What the model writes behind a prompt while a latent is held at `value`, its largest activation in the training
    split if none is named; beside what it writes by itself, and while another latent, drawn at random, is held at the
    value at which that changes predictions at the prompt as much. Each text of a sample is written by the same chance.

    Raises `UserError` for a latent that does not exist or was never active, for a dictionary that does not read what it
    writes, and like `Prompts.generate`.
    """
    if not 1 <= n_samples <= MOST_SAMPLES:
        raise UserError(f"{n_samples} samples were asked for.", f"from 1 to {MOST_SAMPLES}", "ask for 3, say.")
    prompts.latents.checked(latent)
    pinning = prompts.pinning
    largest = _largest(index, latent)
    pin = Pin(latent, largest if value is None else value)
    row, how = prompts.tokens(prompt), Sampling(n_new, temperature, top_p, at == "last")
    drawn = other_latent(index, latent, seed)
    other, tuned = pinning.as_strong(row, pin, Pin(drawn, _largest(index, drawn)), at_last=how.at_last)
    seeds = [derive(seed, "pinned", number) for number in range(n_samples)]
    found = pinning.beside(row, pin, other, seeds, how)
    raised = raised_by(index, latent)
    vocabulary = prompts.model.tokenizer.vocabulary
    text = lambda wrote: _text(vocabulary, wrote, raised)
    samples = [
        PinnedSample(seed=number, plain=text(one.plain), pinned=text(one.pinned), beside=text(one.other))
        for number, one in enumerate(found)
    ]
    return Pinned(
        prompt=prompt,
        latent=latent,
        value=pin.value,
        largest=largest,
        at=at,
        kl=pinning.divergence(row, pin, at_last=how.at_last),
        beside=drawn,
        beside_value=other.value,
        beside_kl=tuned.divergence,
        raised=[vocabulary.text(token) for token in raised],
        samples=samples,
    )


def other_latent(index: FeatureIndex, latent: int, seed: int) -> int:
    """Another latent that is active in training text, drawn at random. Raises `UserError` where there is none."""
    there = np.flatnonzero(index.table["train_n_active"] >= _LEAST_ACTIVE)
    there = there[there != latent]
    if not len(there):
        raise UserError(
            f"No latent of the index but {latent} is active on {_LEAST_ACTIVE} training tokens.",
            "another latent to hold it against",
            "index more text.",
        )
    return int(generator(seed, "beside", latent).choice(there))


def _largest(index: FeatureIndex, latent: int) -> float:
    largest = float(index.table["train_max"][latent])
    if largest <= 0:
        raise UserError(
            f"Latent {latent} is never active above 0 in the training split.",
            "a latent whose activations say what much is",
            "choose another latent.",
        )
    return largest


def _text(vocabulary: Vocabulary, wrote: Wrote, raised: Sequence[int]) -> PinnedText:
    return PinnedText(
        text=vocabulary.decode(wrote.tokens),
        tokens=[
            PinnedToken(token=token, text=vocabulary.text(token), loss=loss, activation=act)
            for token, loss, act in zip(wrote.tokens, wrote.loss, wrote.activations, strict=True)
        ],
        loss=wrote.mean_loss,
        repeated=wrote.repeated,
        active_share=wrote.active_share,
        raised_share=wrote.share_of(raised),
    )
