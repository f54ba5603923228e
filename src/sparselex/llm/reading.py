"""Log-probabilities of given texts by a model of this process: what texts begin with together is read once."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from sparselex.llm.records import Answer, Request, Token
from sparselex.llm.speaker import Speaker
from sparselex.llm.tokens import first_behind, starts_of

_FEW = 4
"""Texts that begin alike and are read by themselves; fewer are read together with others."""

_BEGIN = 64
"""Characters with which questions of one kind begin: their instructions."""

_MOST_ROWS = 64
"""Texts in a forward pass: on a processor more are no faster."""

_MOST_TOKENS = 1 << 14
"""Tokens of a forward pass with what went before: under a gigabyte of keys and values of a small model."""

_AT_ONCE = 256
"""Places of which the logits are there at once: with 50,000 tokens they take 50 megabytes."""


class Reading(NamedTuple):
    """A text to be read."""

    request: Request
    ids: list[int]
    """Tokens of all of it."""

    first: int
    """The first of which the log-probability is wanted; at least 1."""


def reading_of(speaker: Speaker, request: Request) -> Reading:
    """The tokens of a text as they are where it is read as one, as servers do; where these do not spell it, its two
    parts are taken by themselves."""
    text, border = request.text, len(request.messages[0].content)
    ids = speaker.tokens(text)
    starts = starts_of([speaker.decode([token]) for token in ids], text)
    if starts is not None:
        first = first_behind(starts, border, len(text))
    else:
        before = speaker.tokens(text[:border])
        ids, first = [*before, *speaker.tokens(request.continuation)], len(before)
    if speaker.begins is not None and (speaker.always_begins or not first):
        ids, first = [speaker.begins, *ids], first + 1
    return Reading(request, ids, max(1, first))


def read(speaker: Speaker, readings: Sequence[Reading]) -> Iterator[tuple[int, Answer]]:
    """Read texts, and give the answer to each with its number, in whatever order is fastest."""
    for group in _groups(readings):
        n_shared = shared([readings[n].ids[: readings[n].first] for n in group]) if len(group) > 1 else 0
        before = _begun(speaker, readings[group[0]].ids[:n_shared])
        for batch in _batches(readings, group):
            found = _answers(speaker, [readings[n] for n in batch], before, n_shared)
            yield from zip(batch, found, strict=True)


def shared(rows: Sequence[list[int]]) -> int:
    """Tokens with which all begin; at least one of each is left to be read."""
    first, last = min(rows), max(rows)
    n = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return max(0, min(n, min(map(len, rows)) - 1))


def unembedded(speaker: Speaker, hidden: Tensor) -> Tensor:
    """Logits of hidden states by the model's own head, in float32: in bfloat16 one of 20 is off by up to 0.06."""
    config, head = speaker.hf.config.get_text_config(), speaker.hf.get_output_embeddings()
    bias = None if head.bias is None else head.bias.float()
    logits = torch.nn.functional.linear(hidden.float(), head.weight.float(), bias)
    logits = logits * (getattr(config, "logit_scale", None) or 1) / (getattr(config, "logits_scaling", None) or 1)
    cap = getattr(config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


def _groups(readings: Sequence[Reading]) -> Iterator[list[int]]:
    """Numbers of texts that have the same text before them; of those that share theirs with hardly another, those that
    begin alike. Each by length, so that little is read in vain."""
    before = lambda n: readings[n].request.messages[0].content
    by_length = lambda n: (len(readings[n].ids), n)
    alone = dict[str, list[int]]()
    for whole, members in groupby(sorted(range(len(readings)), key=before), key=before):
        if len(group := sorted(members, key=by_length)) >= _FEW:
            yield group
        else:
            alone.setdefault(whole[:_BEGIN], []).extend(group)
    for group in alone.values():
        yield sorted(group, key=by_length)


def _batches(readings: Sequence[Reading], group: Sequence[int]) -> Iterator[list[int]]:
    batch = list[int]()
    for n in group:
        # The longest so far: they come by length.
        if batch and (len(batch) == _MOST_ROWS or (len(batch) + 1) * len(readings[n].ids) > _MOST_TOKENS):
            yield batch
            batch = []
        batch.append(n)
    yield batch


def _begun(speaker: Speaker, ids: Sequence[int]) -> DynamicCache:
    """Keys and values of what several texts begin with."""
    cache = DynamicCache(config=speaker.hf.config)
    if ids:
        speaker.hf.get_decoder()(torch.tensor([ids], device=speaker.hf.device), past_key_values=cache)
    return cache


def _answers(speaker: Speaker, rows: Sequence[Reading], before: DynamicCache, n_shared: int) -> Iterator[Answer]:
    """Answers to the rows of one forward pass."""
    hidden = _hidden(speaker, rows, before, n_shared)
    places = [(row, at - 1 - n_shared) for row, one in enumerate(rows) for at in range(one.first, len(one.ids))]
    targets = [token for one in rows for token in one.ids[one.first :]]
    index = torch.tensor(places, dtype=torch.long, device=hidden.device).view(-1, 2)
    tokens = _tokens(speaker, hidden[index[:, 0], index[:, 1]], targets, max(one.request.top_logprobs for one in rows))
    for one in rows:
        own = tuple(next(tokens) for _ in one.ids[one.first :])
        short = tuple(token._replace(alternatives=token.alternatives[: one.request.top_logprobs]) for token in own)
        yield Answer(text=one.request.continuation, tokens=short, n_prompt_tokens=len(one.ids))


def _hidden(speaker: Speaker, rows: Sequence[Reading], before: DynamicCache, n_shared: int) -> Tensor:
    """`[n, longest, d_model]` behind each token of each row that is not shared, but for the last."""
    device, rest = speaker.hf.device, [one.ids[n_shared:-1] for one in rows]
    longest = max(map(len, rest))
    if not longest:
        return torch.empty(len(rows), 0, 1, device=device)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rest], device=device)
    mask = torch.tensor([[1] * (n_shared + len(row)) + [0] * (longest - len(row)) for row in rest], device=device)
    cache = None
    if n_shared:
        cache = deepcopy(before)
        cache.batch_repeat_interleave(len(rows))
    read_on = speaker.hf.get_decoder()(ids, past_key_values=cache, attention_mask=mask, use_cache=bool(n_shared))
    return read_on.last_hidden_state


def _tokens(speaker: Speaker, hidden: Tensor, targets: Sequence[int], top: int) -> Iterator[Token]:
    """A record of each target `[n]` behind its hidden state `[n, d_model]`, with the `top` likeliest."""
    for begin in range(0, len(targets), _AT_ONCE):
        part = targets[begin : begin + _AT_ONCE]
        logits = unembedded(speaker, hidden[begin : begin + _AT_ONCE])
        total = logits.logsumexp(-1, keepdim=True)
        own = logits.gather(1, torch.tensor(part, device=logits.device)[:, None]) - total
        best, ids = logits.topk(min(top, logits.shape[1]))
        for target, logprob, bests, names in zip(part, own[:, 0].tolist(), (best - total).tolist(), ids.tolist()):
            others = zip((speaker.decode([name]) for name in names), (min(0.0, one) for one in bests), strict=True)
            yield Token(speaker.decode([target]), min(0.0, logprob), tuple(others))
