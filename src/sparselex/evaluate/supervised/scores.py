"""Why a head looks where it does: its attention scores as sums over pairs of a query's variable and a key's (Makelov,
Lange and Nanda 2024, arXiv:2405.08366, appendix on attention). The most demanding check of supervised dictionaries: two
of them, made apart, have to say together what the head multiplies."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import figure_of, mean_figure
from sparselex.base.sites import Hook
from sparselex.causal.edits import bound, put
from sparselex.causal.spliced import first_of
from sparselex.causal.where import at
from sparselex.evaluate.supervised.circuit import OUTPUT
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.labels import MADE, Labels, Supervised, shuffled
from sparselex.evaluate.supervised.nodes import Node, Values, batches
from sparselex.evaluate.supervised.pairs import MEAN, REST, Prompted, labels_of, n_values_of
from sparselex.evaluate.supervised.place import FIT, TEST, generator_of
from sparselex.evaluate.supervised.records import AttentionScores, Circuit, Pair
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import END, LabelledPrompts, Task

_MOST = 70.0
"""Scores beyond which attention is less than what float32 holds."""

Scores = Float[Tensor, " n"]


class Looking(NamedTuple):
    """A head at one token, and the tokens at which it looks."""

    query: Node
    """Its query."""

    keys: tuple[Node, ...]
    """Its keys at tokens before."""

    output: Node
    """What it writes."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All that has to be read."""
        return (self.query, *self.keys)


def heads_looking(model: SubjectModel, circuit: Circuit, task: Task, config: TaskConfig) -> list[Looking]:
    """The heads at the last token whose scores are taken apart, each at the two tokens at which it looks most: of those
    that were found the ones with the largest effects, and of places that a person named all outputs."""
    roles = [role for role in task.roles if role != END]
    if not roles:
        return []
    found = dict[Node, tuple[str, ...]]()
    for head in sorted(circuit.heads, key=lambda head: -abs(head.effect)):
        if head.role == END and Hook(head.hook).site == OUTPUT:
            looked = sorted(roles, key=lambda role: -head.looks_at.get(role, 0.0))
            found.setdefault(Node(Hook(head.hook), END), tuple(looked[:2]))
    chosen = [*found.items()][: config.most_nodes]
    if not circuit.heads:
        nodes = (Node.parse(node) for place in circuit.sections for node in place.nodes)
        named = dict.fromkeys(node for node in nodes if node.role == END and node.hook.site == OUTPUT)
        chosen = [(node, tuple(roles[:2])) for node in named if node.hook.head is not None]
    return [looking(model, node, looked) for node, looked in chosen]


def looking(model: SubjectModel, output: Node, roles: Sequence[str]) -> Looking:
    """The query and keys of the head with this output; where heads share keys, those of its group."""
    head, block = output.hook.head or 0, f"blocks.{output.hook.layer}.attn"
    n_heads, n_keys = (model.per_head(f"{block}.{site}")[0] for site in ("hook_q", "hook_k"))
    key = Hook(f"{block}.hook_k:{head * n_keys // n_heads}")
    query = Node(Hook(f"{block}.hook_q:{head}"), output.role)
    return Looking(query, tuple(Node(key, role) for role in roles), output)


def attention_scores(
    model: SubjectModel, prompts: Prompted, look: Looking, read: Mapping[str, Values], config: TaskConfig, path: str
) -> list[AttentionScores]:
    """The scores of one head at each of its keys, and the difference of the first two, on tested prompts. `read` has
    the queries and keys of all prompts."""
    multiplied = Multiplied(model, prompts.test, look)
    found = {key.role: _of_key(multiplied, prompts, key, read, config) for key in look.keys}
    if len(found) > 1:
        (one, first), (other, second) = [*found.items()][:2]
        found[f"{one} less {other}"] = first.less(second)
    return [_record(f"{path}/{look.output}/{role}", look, role, terms) for role, terms in found.items()]


class Multiplied:
    """What a head makes of a query and a key put into it: the score before the softmax.

    Read off its attention, with every other key zero: the logarithm of the attention to the key over that to another
    token. Exact for whatever is done to queries and keys on the way (rotation by position, scale), as long as it is
    linear in each; what a head adds for a distance alone is part of it.

    Args:
        model: whose head it is.
        prompts: at whose tokens query and key stand.
        look: the head.
    """

    def __init__(self, model: SubjectModel, prompts: LabelledPrompts, look: Looking):
        self.model, self.look = model, look
        self.value = Hook(f"{look.keys[0].hook.whole.replace('hook_k', 'hook_v')}:{look.keys[0].hook.head}")
        # Their names are canonical, else the head would not have been found.
        first = first_of(model, [look.query.hook, look.keys[0].hook, self.value]) or look.query.hook
        self._kept = [(part, model.keep(torch.from_numpy(part.tokens), first)) for part in batches(prompts)]

    @torch.no_grad()
    def score(self, query: Float[Tensor, "n d"], key: Float[Tensor, "n d"], role: str) -> Scores:
        """The score of each prompt's query and of its key at a role."""
        # What is too large for a softmax is measured of a shorter query; not all architectures divide by √d.
        longest = query.norm(dim=-1) * key.norm(dim=-1)
        shorter = (longest / _MOST).clamp_min(1.0)
        query = query / shorter[:, None]
        found, start = list[Tensor](), 0
        for part, kept in self._kept:
            rows = slice(start, start + len(part))
            found.append(self._part(part, kept, query[rows], key[rows], role))
            start += len(part)
        return torch.cat(found) * shorter.double()

    def _part(self, part: LabelledPrompts, kept: Kept, query: Tensor, key: Tensor, role: str) -> Scores:
        each = torch.arange(len(part))
        ends, places = (torch.from_numpy(part.roles[name]) for name in (self.look.query.role, role))
        others = (places == 0).long()  # the first token, or the second
        keys, values = (torch.zeros(*part.tokens.shape, self.model.width(h)) for h in (self._key, self.value))
        keys[each, places] = key
        values[each, places, 0], values[each, others, 1] = 1.0, 1.0
        edits = put(self.look.query.hook, query, at(ends)) + put(self._key, keys) + put(self.value, values)
        output = self.look.output.hook
        seen = self.model.run(kept, edits=bound(edits), read=[output], logits=False).values[output]
        attention = seen[each, ends, :2].double().cpu().clamp_min(torch.finfo(torch.float32).tiny)
        return (attention[:, 0] / attention[:, 1]).log()

    @property
    def _key(self) -> Hook:
        return self.look.keys[0].hook


class Terms(NamedTuple):
    """A score and what it is a sum of."""

    whole: Scores
    """The score itself."""

    pairs: Mapping[tuple[str, str], Scores]
    """By part of the query and part of the key."""

    by_chance: Sequence[Scores]
    """What dictionaries of shuffled labels make of it, for each seed."""

    def less(self, other: "Terms") -> "Terms":
        """The difference of two."""
        pairs = {pair: term - other.pairs[pair] for pair, term in self.pairs.items()}
        chance = [one - two for one, two in zip(self.by_chance, other.by_chance, strict=True)]
        return Terms(self.whole - other.whole, pairs, chance)


def _of_key(
    multiplied: Multiplied, prompts: Prompted, key: Node, read: Mapping[str, Values], config: TaskConfig
) -> Terms:
    query = multiplied.look.query
    labels, test = labels_of(prompts.fit), labels_of(prompts.test)
    made = [_made(read[FIT][node], labels, prompts, config) for node in (query, key)]
    parts = [dict(_parts(one, read[TEST][node], test)) for one, node in zip(made, (query, key), strict=True)]
    score = lambda q, k: multiplied.score(q, k, key.role)
    pairs = {(i, j): score(q, k) for i, q in parts[0].items() for j, k in parts[1].items()}
    chance = list[Scores]()
    for seed in range(config.n_seeds):
        others = shuffled(labels, generator_of(config.seed, "shuffled", seed))
        q, k = (_made(read[FIT][node], others, prompts, config).reconstruct(test) for node in (query, key))
        chance.append(score(q, k))
    return Terms(score(read[TEST][query], read[TEST][key]), pairs, chance)


def _made(values: Tensor, labels: Labels, prompts: Prompted, config: TaskConfig) -> Supervised:
    return MADE[config.supervised](values, labels, n_values_of(prompts.fit))


def _parts(made: Supervised, values: Float[Tensor, "n d"], labels: Labels) -> Iterator[tuple[str, Tensor]]:
    """What values are a sum of: the mean, a vector for each variable, and the rest."""
    yield MEAN, made.mean.expand_as(values)
    for name, rows in made.vectors.items():
        yield name, rows[labels[name]]
    yield REST, values - made.reconstruct(labels)


def _record(path: str, look: Looking, role: str, terms: Terms) -> AttentionScores:
    whole = terms.whole.numpy()
    said: NDArray[np.float64] = sum(
        (term.numpy() for pair, term in terms.pairs.items() if REST not in pair), start=np.zeros_like(whole)
    )
    every = sum((term.numpy() for term in terms.pairs.values()), start=np.zeros_like(whole))
    spread = float(whole.std()) or 1.0
    null = float(np.mean([_explained(whole, one.numpy()) for one in terms.by_chance])) if terms.by_chance else None
    return AttentionScores(
        head=str(look.output.hook),
        at=look.output.role,
        role=role,
        score=mean_figure(f"{path}/score", whole, "mean score before the softmax", over="prompts"),
        explained=figure_of(
            f"{path}/explained",
            np.stack([np.square(whole - said), np.square(whole - whole.mean())], axis=1),
            lambda sums: 1 - sums[..., 0] / sums[..., 1],
            "1 less the mean squared difference of the score and what the supervised dictionaries of query and key "
            "make of it, over the variance of the score; null: dictionaries of shuffled labels",
            over="prompts",
            null=null,
            better="higher",
        ),
        pairs=[_pair(pair, term.numpy(), whole) for pair, term in terms.pairs.items()],
        left=float(np.abs(whole - every).max()) / spread,
    )


def _pair(pair: tuple[str, str], term: NDArray[np.float64], whole: NDArray[np.float64]) -> Pair:
    varies = float(np.square(whole - whole.mean()).sum())
    share = float(((term - term.mean()) * (whole - whole.mean())).sum()) / varies if varies else None
    size = float(np.sqrt(np.square(term).mean()))
    return Pair(query=pair[0], key=pair[1], mean=float(term.mean()), size=size, share=share)


def _explained(whole: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    varies = float(np.square(whole - whole.mean()).sum())
    return 1 - float(np.square(whole - said).sum()) / varies if varies else 0.0
