"""A language model in this process: many questions at once, and what they begin with read once."""

import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, Self

import torch
from transformers import DynamicCache

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.llm.cache import request_key
from sparselex.llm.draws import draws, one_of
from sparselex.llm.picking import Pick
from sparselex.llm.reading import read, reading_of, shared, unembedded
from sparselex.llm.records import Answer, Capabilities, Request, Token
from sparselex.llm.speaker import Speaker

_AT_ONCE = 32
"""Questions in a forward pass: more are no faster on a processor, and a gigabyte holds them."""

_READ_AT_ONCE = 512
"""Given texts that are sorted by length before they are read."""

_REMEMBERED = 1 << 13
"""Answers that are kept: of texts of some dozen tokens each tens of megabytes."""

_TOKENS = 1 << 14
"""Tokens of prompts that are answered at once."""


class LocalClient:
    """Answers by a model of this process, one thread, in the order in which it is fastest.

    Everything that was asked and not answered yet is looked through for questions of which the probabilities of given
    answers are wanted and that begin alike, and for given texts: they are read together, what they share once. Others
    are written by likelihood or drawn, several at once; what is drawn depends on the question and its seed alone.
    """

    def __init__(self, speaker: Speaker):
        self.model, self._speaker = speaker.name, speaker
        self.stopped: str | None = None
        self._waiting: deque[tuple[Request, Future[Answer | Failure]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._known = dict[bytes, Answer]()
        self._worker = threading.Thread(target=self._work, name="language model", daemon=True)
        self._worker.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def capabilities(self) -> Capabilities:
        """The probabilities of answers, and objects of texts, of which all but the texts is written for it."""
        n_ctx = getattr(self._speaker.hf.config.get_text_config(), "max_position_embeddings", None)
        return Capabilities(
            schema_answers=True, seed=True, n=True, choices=True, continuations=True, plain=True, n_ctx=n_ctx
        )

    def submit(self, request: Request) -> "Future[Answer | Failure]":
        """Ask; returns at once. Raises `UserError` for an answer that is to be drawn without a seed."""
        if request.temperature and request.seed is None:
            raise UserError(
                f"An answer was to be drawn at temperature {request.temperature:g}, without a seed.",
                "a seed for each answer that is drawn in this process, so that it can be drawn again",
                "give a seed, or temperature 0.",
            )
        done: Future[Answer | Failure] = Future()
        with self._changed:
            self._waiting.append((request, done))
            self._changed.notify()
        return done

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    for _, done in self._waiting:
                        done.cancel()
                    return
                batch = self._taken()
            try:
                answers = self._once([request for request, _ in batch])
            except Exception as error:  # a door: whatever a model cannot read is a failure of these questions
                answers = [Failure(subject=self.model, reason=f"{type(error).__name__}: {error}")] * len(batch)
            for (_, done), answer in zip(batch, answers, strict=True):
                if not done.cancelled():
                    done.set_result(answer)

    def _taken(self) -> list[tuple[Request, Future[Answer | Failure]]]:
        """The oldest question and those that can be answered with it."""
        kind = _kind(self._waiting[0][0])
        most = _READ_AT_ONCE if self._waiting[0][0].continuation else _AT_ONCE
        batch = [one for one in self._waiting if _kind(one[0]) == kind][:most]
        taken = {id(one) for one in batch}
        self._waiting = deque(one for one in self._waiting if id(one) not in taken)
        return batch

    def _once(self, requests: Sequence[Request]) -> list[Answer | Failure]:
        """The answers to questions, each of which is answered once, now or before: many talks ask the same."""
        keys = [request_key(self.model, request) for request in requests]
        new = {key: one for key, one in zip(keys, requests, strict=True) if key not in self._known}
        found = dict(zip(new, self._answered(list(new.values())), strict=True)) if new else {}
        found |= {key: self._known[key] for key in keys if key in self._known}
        self._known |= {key: answer for key, answer in found.items() if isinstance(answer, Answer)}
        for key in list(islice(self._known, max(0, len(self._known) - _REMEMBERED))):
            del self._known[key]
        return [found[key] for key in keys]

    def _answered(self, requests: Sequence[Request]) -> list[Answer | Failure]:
        return self._read(requests) if requests[0].continuation else self._drawn(requests)

    def _drawn(self, requests: Sequence[Request]) -> list[Answer | Failure]:
        """Answers of which each may be several."""
        found = iter(self._asked([one for request in requests for one in draws(request)]))
        return [one_of(list(islice(found, request.n))) for request in requests]

    def _read(self, requests: Sequence[Request]) -> list[Answer | Failure]:
        """Log-probabilities of given texts."""
        limit, readings = self.capabilities().n_ctx, [reading_of(self._speaker, request) for request in requests]
        fits = [n for n, one in enumerate(readings) if limit is None or len(one.ids) <= limit]
        with torch.inference_mode():
            found = {fits[n]: answer for n, answer in read(self._speaker, [readings[n] for n in fits])}
        return [found.get(n) or self._too_long(len(one.ids)) for n, one in enumerate(readings)]

    def _too_long(self, n_tokens: int) -> Failure:
        limit = self.capabilities().n_ctx or 0
        reason = f"{n_tokens:,} tokens are too many for a model that reads {limit:,}, its answer among them"
        return Failure(subject=self.model, reason=f"{reason}: ask for fewer or shorter examples, or another model")

    def _asked(self, requests: Sequence[Request]) -> list[Answer | Failure]:
        prompts = [self._prompt(request) for request in requests]
        limit = self.capabilities().n_ctx
        room = requests[0].max_tokens if not requests[0].choices else 1
        fits = [limit is None or len(prompt) + room <= limit for prompt in prompts]
        kept = [prompt for prompt, is_short in zip(prompts, fits, strict=True) if is_short]
        pick = [Pick(request) for request, is_short in zip(requests, fits, strict=True) if is_short]
        found: Iterator[Answer | Failure]
        with torch.inference_mode():
            if requests[0].choices:
                found = iter(self._chosen(kept, requests[0].choices))
            elif requests[0].form is not None:
                found = iter(self._formed(kept, list(requests[0].form["properties"]), room, pick))
            else:
                found = iter(self._written(kept, room, pick, until=requests[0].stop))
        return [
            next(found) if is_short else self._too_long(len(prompt))
            for prompt, is_short in zip(prompts, fits, strict=True)
        ]

    def _prompt(self, request: Request) -> list[int]:
        """Tokens up to where the answer begins."""
        speaker = self._speaker
        if request.plain:
            begins = [speaker.begins] if speaker.begins is not None and speaker.always_begins else []
            return begins + speaker.tokens(request.text)
        return speaker.encode([message._asdict() for message in request.messages])

    def _chosen(self, prompts: Sequence[list[int]], choices: Sequence[str]) -> list[Answer | Failure]:
        """How probable each of the choices is behind each prompt."""
        if not prompts:
            return []
        logits = self._last_logits(prompts)
        tokens = [self._speaker.tokens(choice)[0] for choice in choices]
        found = list[Answer | Failure]()
        for prompt, row in zip(prompts, torch.log_softmax(logits, dim=-1)[:, tokens].tolist(), strict=True):
            ranked = sorted(zip(choices, row, strict=True), key=lambda one: -one[1])
            token = Token(ranked[0][0], ranked[0][1], tuple(ranked))
            found.append(Answer(text=token.text, tokens=(token,), n_prompt_tokens=len(prompt)))
        return found

    def _last_logits(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """`[n, n_vocab]` behind each prompt; what all of them begin with is read once."""
        hf, n_shared = self._speaker.hf, shared(prompts)
        rest = [prompt[n_shared:] for prompt in prompts]
        longest = max(map(len, rest))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rest], device=hf.device)
        mask = torch.tensor(
            [[1] * (n_shared + len(row)) + [0] * (longest - len(row)) for row in rest], device=hf.device
        )
        cache = self._begun(prompts, n_shared)
        hidden = hf.get_decoder()(ids, past_key_values=cache, attention_mask=mask).last_hidden_state
        last = hidden[torch.arange(len(rest)), torch.tensor([len(row) - 1 for row in rest], device=hf.device)]
        return unembedded(self._speaker, last)

    def _begun(self, prompts: Sequence[list[int]], n_shared: int) -> DynamicCache:
        """Keys and values of the tokens with which all prompts begin, for each of them."""
        hf = self._speaker.hf
        cache = DynamicCache(config=hf.config)
        if n_shared:
            begin = torch.tensor([prompts[0][:n_shared]], device=hf.device)
            hf(begin, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
        return cache

    def _formed(
        self, prompts: Sequence[list[int]], names: Sequence[str], most: int, pick: Sequence[Pick]
    ) -> list[Answer | Failure]:
        """Objects with a text for each name: the model writes the texts, each up to its closing quotation mark."""
        texts: list[dict[str, str]] = [{} for _ in prompts]
        begun, n_written = ["" for _ in prompts], [0 for _ in prompts]
        for name in names:
            begun = [f'{one}, "{name}": "' if one else f'{{"{name}": "' for one in begun]
            opened = [[*prompt, *self._speaker.tokens(one)] for prompt, one in zip(prompts, begun, strict=True)]
            for row, answer in enumerate(self._written(opened, most, pick, until='"')):
                text = answer.text.partition("\n")[0].strip()
                texts[row][name] = text
                begun[row] += text + '"'
                n_written[row] += answer.n_answer_tokens
        return [
            Answer(text=json.dumps(found), n_prompt_tokens=len(prompt), n_answer_tokens=n)
            for found, prompt, n in zip(texts, prompts, n_written, strict=True)
        ]

    def _written(self, prompts: Sequence[list[int]], most: int, pick: Sequence[Pick], until: str = "") -> list[Answer]:
        """The answer to each prompt, token by token as each picks them, up to a sign that ends it."""
        at_once = max(1, _TOKENS // max([1, *map(len, prompts)]))
        here = [slice(begin, begin + at_once) for begin in range(0, len(prompts), at_once)]
        parts = [self._written_at_once(prompts[one], most, pick[one], until) for one in here]
        return [answer for part in parts for answer in part]

    def _written_at_once(
        self, prompts: Sequence[list[int]], most: int, pick: Sequence[Pick], until: str
    ) -> list[Answer]:
        hf, n_shared = self._speaker.hf, shared(prompts) if len(prompts) > 1 else 0
        rest = [prompt[n_shared:] for prompt in prompts]
        longest = max(map(len, rest))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rest], device=hf.device)
        held = [[1] * n_shared + [0] * (longest - len(row)) + [1] * len(row) for row in rest]
        mask, cache = torch.tensor(held, device=hf.device), self._begun(prompts, n_shared)
        written: list[list[int]] = [[] for _ in prompts]
        left, positions = set(range(len(prompts))), (mask.cumsum(-1) - 1).clamp(min=0)[:, n_shared:]
        for _ in range(most):
            out = hf(ids, past_key_values=cache, attention_mask=mask, position_ids=positions, logits_to_keep=1)
            last = out.logits[:, -1]
            picked = [one(row) for one, row in zip(pick, last, strict=True)]
            for row, token in enumerate(picked):
                if row in left and token in self._speaker.ends:
                    left.discard(row)
                elif row in left:
                    written[row].append(token)
                    # Each token is a byte of it at least.
                    if until and until in self._speaker.decode(written[row][-len(until.encode()) :]):
                        left.discard(row)
            if not left:
                break
            ids, positions = torch.tensor(picked, device=hf.device)[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        return [
            Answer(
                text=_before(self._speaker.decode(tokens), until),
                cut=row in left,
                n_prompt_tokens=len(prompts[row]),
                n_answer_tokens=len(tokens),
            )
            for row, tokens in enumerate(written)
        ]


def _before(text: str, until: str) -> str:
    return text.partition(until)[0] if until else text


def _kind(request: Request) -> tuple[Any, ...]:
    """Equal for questions that are answered together."""
    if request.continuation:
        return ("continuation",)
    if request.choices:
        return request.choices, request.messages[:-1]
    if request.plain:
        return request.max_tokens, request.stop
    return request.max_tokens, tuple((request.form or {}).get("properties", ()))
