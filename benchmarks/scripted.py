"""A scripted writer and judge behind a local server: it knows in which windows the latents of a run are active, but for
stated errors, and counts what it reads and writes by a real tokenizer."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from sparselex.base.intervals import Floats
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judges.fuzzing import Fuzzing
from sparselex.explain.asking.judging import Item
from sparselex.explain.asking.words import plain
from sparselex.explain.asking.writers.examples import Writer
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.windows import activations
from sparselex.features.index import FeatureIndex
from sparselex.llm.records import Capabilities, Message, Request
from tests.support.chat import Said, completion
from tests.support.judge import description, draw, passages, purpose_of

MISS, ALARM = 0.2, 0.2
"""Share of active windows that are said not to fit, and of silent ones that are said to."""

EACH_MESSAGE = 4
"""Tokens that a chat template puts around a message."""

_LATENT = re.compile(r"\(latent (\d+)\)")
_NOTE = re.compile(r"Description: ([^\n]*)\nText:\n")
_MARKED = re.compile(r"(?:<<|\[\[|\{\{)(.+?)(?:>>|\]\]|\}\})", re.DOTALL)
_KNOWN = "contains the word "


class Window(NamedTuple):
    """A test window token by token, as it is simulated."""

    document: int
    position: int
    """That stands for it, as in judgements."""

    values: Floats
    """`[n]`, what the latent is on each token."""

    digits: Floats
    """`[n]`, what is said of each, from 0 to 9."""


class Truth:
    """Which windows are drawn for some latents, and what is true of them.

    Args:
        index: of the run.
        latents: those that are explained.
        config: how windows are drawn.
    """

    def __init__(self, index: FeatureIndex, latents: Sequence[int], config: AskConfig):
        evidence, held_out = Evidence(index, config.seed), HeldOut(index, config.seed)
        self.drawing, self._fuzzing = Drawing(evidence, held_out, config), Fuzzing(evidence, held_out, config)
        self.config, writer = config, Writer(evidence, config)
        asked = {latent: writer.request(latent, Capabilities()) for latent in latents}
        self.explains = {one.messages[-1].content: latent for latent, one in asked.items() if one}
        self.fits: dict[tuple[str, int, str], bool] = {}
        self.digits: dict[tuple[int, str], Floats] = {}
        self.windows: dict[int, list[Window]] = {latent: [] for latent in latents}
        for latent in latents:
            self._read(latent)

    def _read(self, latent: int) -> None:
        drawn = self.drawing.draw(latent, self.config.negatives)
        for item in self.drawing.items(latent, drawn):
            self.fits["detection", latent, item.text] = item.kind == "active"
        for item in self._fuzzing.items(latent, self.drawing.draw(latent, ("wrong",)))[1]:
            self.fits["fuzzing", latent, item.text] = item.kind == "active"
        simulated = self.drawing.draw(latent, ())
        for item in self.drawing.items(latent, simulated):
            self._simulate(latent, item)

    def _simulate(self, latent: int, item: Item) -> None:
        """A window of which nothing is said where the judge misses it, and something where it gives false alarm."""
        active, ranks, test = item.kind == "active", self.drawing.windows.ranks(item.window), self.drawing.test
        tokens = test.tokens.tokens[ranks.start : ranks.stop].tolist()
        lines = "".join(f"{_shown(plain(test.vocabulary, [token]))}\t?\n" for token in tokens)
        values = activations(self.drawing.column(latent), ranks)
        digits = np.ceil(9 * values / max(values.max(), 1e-9))
        if draw("simulation", str(latent), lines) < (MISS if active else ALARM):
            digits = np.zeros(len(values))
            if not active:
                digits[int(draw("where", lines) * len(digits))] = 9
        # Of windows that read alike the same is said.
        said = self.digits.setdefault((latent, lines), digits)
        document = int(self.drawing.windows.documents[item.window])
        self.windows[latent].append(Window(document, item.position, values, said))


class ScriptedServer:
    """What the server says, and an account of it by purpose, trials of the judge apart.

    Args:
        truth: what it knows.
        tokenizer: what it counts by.
    """

    def __init__(self, truth: Truth, tokenizer: Tokenizer):
        self.truth, self._tokenizer = truth, tokenizer
        self.spent: Counter[tuple[str, str]] = Counter()
        """Tokens read and written, by purpose and `own` or `trial`."""

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def answer(self, body: dict[str, Any]) -> Said:
        """A chat's answer."""
        messages = tuple(Message(one["role"], one["content"]) for one in body["messages"])
        purpose = purpose_of(messages[0].content) or ("each" if body.get("max_tokens") == 1 else "probe")
        text, said = self._text(purpose, messages)
        n_read = 3 + sum(EACH_MESSAGE + self.count(message.content) for message in messages)
        n_written = self.count(text)
        self._account(purpose, said, n_read + n_written)
        tells = body.get("logprobs") and purpose in ("probe", "each")  # its votes are bare ones, as the reference's
        logprobs = {"content": _content(text)} if tells else None
        return Said(completion(text, usage=(n_read, n_written), logprobs=logprobs))

    def complete(self, body: dict[str, Any]) -> Said:
        """Log-probabilities of a text: as the simulated digits where there are question marks."""
        prompt, notes = body["prompt"], list(_NOTE.finditer(body["prompt"]))
        note = notes[-1] if notes else None
        marks = self._digits(prompt, note[1], note.end()) if note else {}
        encoded, at = self._tokenizer.encode(prompt, add_special_tokens=False), 0
        texts, tops, offsets = list[str](), list[dict[str, float]](), list[int]()
        for _, end in encoded.offsets:
            texts.append(prompt[at : max(at, end)])
            offsets.append(at)
            tops.append({marks[at]: -0.001, "else": -9.0} if at in marks else {texts[-1]: -1.0})
            at = max(at, end)
        self._account("simulation" if note else "probe", note[1] if note else "", len(texts))
        numbers = [None, *(max(one.values()) for one in tops[1:])]
        table = {"tokens": texts, "token_logprobs": numbers, "top_logprobs": [None, *tops[1:]], "text_offset": offsets}
        choice = {"index": 0, "finish_reason": "length", "text": prompt, "logprobs": table}
        return Said({"choices": [choice], "usage": {"prompt_tokens": len(texts), "completion_tokens": 0}})

    def _account(self, purpose: str, said: str, n: int) -> None:
        self.spent[purpose, "trial" if said.startswith(_KNOWN) else "own"] += n

    def _text(self, purpose: str, messages: tuple[Message, ...]) -> tuple[str, str]:
        """What is answered, and the description that it is about."""
        if purpose in ("probe", "each"):
            return "0" if purpose == "each" else "no", ""
        request = Request(messages=messages, max_tokens=1, purpose=purpose)
        if purpose == "explain":
            return json.dumps({"explanation": self._explained(messages[-1].content)}), ""
        said = description(request)
        if purpose == "simulation":
            n = len(passages(request)[0].split("\n"))
            return json.dumps({str(number): 0 for number in range(1, n + 1)}), said
        votes = {str(n): int(self._vote(purpose, said, text)) for n, text in enumerate(passages(request), 1)}
        return json.dumps(votes), said

    def _explained(self, shown: str) -> str:
        """A sentence of the usual length that names what is marked most, and the latent."""
        often = Counter(run.strip() for run in _MARKED.findall(shown) if run.strip()).most_common(3)
        named = ", ".join(json.dumps(run, ensure_ascii=False) for run, _ in often)
        latent = self.truth.explains[shown]
        return f"words and signs such as {named}, mostly in lines of code of one kind (latent {latent})"

    def _vote(self, purpose: str, said: str, text: str) -> bool:
        if said.startswith(_KNOWN):
            fits = json.loads(said.removeprefix(_KNOWN)).lower() in text.lower()
        else:
            latent = _LATENT.search(said)
            fits = self.truth.fits.get((purpose, int(latent[1]) if latent else -1, text), False)
        return fits != (draw(purpose, said, text) < (MISS if fits else ALARM))

    def _digits(self, prompt: str, said: str, begins: int) -> dict[int, str]:
        """By place in the prompt the digit that is likeliest there."""
        lines, latent = prompt[begins:], _LATENT.search(said)
        places = [begins + found.start() + 1 for found in re.finditer("\t\\?\n", lines)]
        if said.startswith(_KNOWN):
            word = json.loads(said.removeprefix(_KNOWN))
            digits = [9 * (word in line) for line in lines.split("\t?\n")[:-1]]
        else:
            known = self.truth.digits.get((int(latent[1]) if latent else -1, lines), np.zeros(len(places)))
            digits = known.astype(int).tolist()
        return {place: str(digit) for place, digit in zip(places, digits, strict=True)}


def _shown(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)[1:-1]


def _content(text: str) -> list[dict[str, Any]]:
    others = [{"token": text, "logprob": -0.1}, {"token": "9", "logprob": -2.5}]
    return [{"token": text, "logprob": -0.1, "top_logprobs": others}]
