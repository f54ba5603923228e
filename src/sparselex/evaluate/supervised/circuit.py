"""Where a task is computed: heads at named tokens whose own value undoes part of what a corrupted prompt does.

Every head's query, key, value and output at every role is ranked by attribution patching, one gradient for all (Nanda
2023; Syed, Rager and Conmy 2023, arXiv:2310.10348), and those that rank highest are patched one by one, as are some of
the others, drawn at random, which tell how far the ranking can be trusted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Interval, jackknife
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.sites import Hook
from sparselex.causal.edits import add, bound
from sparselex.causal.where import at
from sparselex.evaluate.supervised.approximation import LEAST_EFFECT
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.nodes import Bench, Node, Said, batches, joined, read_nodes, said_by
from sparselex.evaluate.supervised.records import Circuit, Head, Place
from sparselex.lm.families import OF_HEADS
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import END, LabelledPrompts, Task

OUTPUT = "attn.hook_z"
N_DRAWN = 20
"""Places that attribution did not rank high, patched all the same."""

LEAST_ABLE = 0.75
"""Share of the prompts on which the answer must be likelier than the other for a model to be said to do the task."""


class Effects(NamedTuple):
    """What patching one place does, on all prompts."""

    effect: Interval
    """Share of the corruption that it undoes, over prompts."""

    direct: float
    """Of that, what goes straight to the logits."""


def able(model: SubjectModel, task: Task, prompts: LabelledPrompts) -> list[Figure]:
    """Whether a model can do a task. Raises `UserError` where it cannot: nothing is scored then."""
    said = _said(model, prompts)
    name = task.name
    above = mean_figure(
        f"{name}/able/above",
        said.difference > 0,
        "share of prompts on which the answer has a larger logit than the other",
        over="prompts",
        share=True,
        null=0.5,
    )
    likeliest = mean_figure(
        f"{name}/able/most_likely",
        said.token == prompts.answers,
        "share of prompts on which the answer is the most likely token",
        over="prompts",
        share=True,
        null=1 / model.n_vocab,
    )
    difference = mean_figure(
        f"{name}/able/logit_difference",
        said.difference,
        "mean logit of the answer less that of the other",
        over="prompts",
        null=0.0,
    )
    if (above.value or 0.0) < LEAST_ABLE or (likeliest.value or 0.0) < LEAST_ABLE:
        surely = any((one.ci_high or 0.0) < LEAST_ABLE for one in (above, likeliest))
        more = "take more prompts: so few leave it open whether the model does it (--n-circuit, and at least as many "
        raise UserError(
            f"{model.name} says the answer of {task.name!r} before the other on {100 * (above.value or 0):.0f} % of "
            f"{len(prompts)} prompts (chance gives 50 %), and as the most likely token on "
            f"{100 * (likeliest.value or 0):.0f} %.",
            f"a model that does the task: {100 * LEAST_ABLE:.0f} % of both",
            "choose another model or another task; of one that a model cannot do nothing is measured."
            if surely
            else f"{more}--n-test).",
        )
    return [above, likeliest, difference]


def find_circuit(
    model: SubjectModel,
    task: Task,
    clean: LabelledPrompts,
    corrupted: Mapping[str, LabelledPrompts],
    config: TaskConfig,
) -> Circuit:
    """The heads that matter, for each way to lose the answer, and the places at which dictionaries are tested. Raises
    `UserError` for a model that cannot do the task, and for one whose heads have no names here."""
    figures = able(model, task, clean)
    nodes = candidates(model, task)
    values = read_nodes(model, clean, nodes)
    heads, missed = list[Head](), list[Figure]()
    for way, others in corrupted.items():
        found, doubts = _heads(model, task, way, clean, others, values, config)
        heads, missed = [*heads, *found], [*missed, *doubts]
    kept = [head for head in heads if abs(head.effect) >= config.threshold]
    looks = attention(model, clean, task, [head for head in kept if Hook(head.hook).site == OUTPUT])
    kept = [_named(head.model_copy(update={"looks_at": looks.get(_node(head), {})})) for head in kept]
    order_of = {point.name: number for number, point in enumerate(model.hooks())}
    place = lambda head: (head.corruption, order_of[Hook(head.hook).whole], Hook(head.hook).head or 0, head.role)
    return Circuit(
        task=task.name,
        model=model.name,
        able=figures,
        heads=sorted(kept, key=place),
        below=sorted((head for head in heads if abs(head.effect) < config.threshold), key=place),
        corruptions=dict(task.corruptions),
        n_candidates=len(nodes),
        missed=missed,
        sections=[*_sections(kept, config), *_residuals(model)],
    )


def _heads(
    model: SubjectModel,
    task: Task,
    way: str,
    clean: LabelledPrompts,
    corrupted: LabelledPrompts,
    values: Mapping[Node, Float[Tensor, "n d"]],
    config: TaskConfig,
) -> tuple[list[Head], list[Figure]]:
    """Heads that were patched for one way to lose the answer, and how far their ranking can be trusted."""
    asked = _asked_as(clean, corrupted)
    there = _said(model, clean).difference
    spans = there - _said(model, asked).difference
    if abs(span := float(spans.mean())) < LEAST_EFFECT * abs(float(there.mean())):
        why = "this corruption takes less than a tenth of the logit difference, so that no share of it means anything"
        words = "how far attribution can be trusted"
        return [], [Figure(name=f"{task.name}/circuit/{way}/missed", definition=words, failure=why)]
    estimates = attribution(model, asked, values)
    order = sorted(values, key=lambda node: -abs(estimates[node]))
    listed, drawn = order[: config.shortlist], _drawn(order[config.shortlist :], config)
    effects = exact(model, asked, {node: values[node] for node in (*listed, *drawn)}, spans)
    heads = [_head(node, way, effects[node], estimates[node] / span) for node in effects]
    return heads, _missed(f"{task.name}/circuit/{way}", effects, estimates, listed, drawn, span, config)


def candidates(model: SubjectModel, task: Task) -> list[Node]:
    """Every head's query, key, value and output at every role. Raises `UserError` where heads have no names."""
    found = [
        Node(Hook(f"{point.name}:{head}"), role)
        for point in model.hooks()
        if point.name.site in OF_HEADS
        for head in range(model.per_head(point.name)[0])
        for role in task.roles
        if role == END or point.name.site != "attn.hook_q"  # queries of other tokens say what these look at
    ]
    if not found:
        raise UserError(
            f"The heads of {model.name} have no names here.",
            "an architecture whose heads are known",
            "name places by --places, such as module:<path>@end.",
        )
    return found


def attribution(
    model: SubjectModel, asked: LabelledPrompts, values: Mapping[Node, Float[Tensor, "n d"]]
) -> dict[Node, float]:
    """Of each node the first-order estimate of what patching its clean value into the corrupted prompt gives back, in
    logits: the change of the value times the gradient of the logit difference on the corrupted prompt."""
    hooks = list(dict.fromkeys(node.hook for node in values))
    total, start = dict.fromkeys(values, 0.0), 0
    for part in batches(asked):
        each, ends = torch.arange(len(part)), torch.from_numpy(part.ends)
        seen = model.run(torch.from_numpy(part.tokens), read=hooks, grad=True)
        logits = seen.logits[each, ends].float()
        answers, others = (torch.from_numpy(ids).to(logits.device) for ids in (part.answers, part.others))
        difference = (logits[each, answers] - logits[each, others]).sum()
        gradients = torch.autograd.grad(difference, [seen.values[hook] for hook in hooks], allow_unused=True)
        for node in values:
            gradient, there = gradients[hooks.index(node.hook)], seen.values[node.hook]
            if gradient is None:
                continue
            places = torch.from_numpy(part.roles[node.role])
            change = values[node][start : start + len(part)].to(there.device) - there[each, places].detach().float()
            total[node] += float((change * gradient[each, places].float()).sum())
        start += len(part)
    return {node: sum_ / start for node, sum_ in total.items()}


def exact(
    model: SubjectModel,
    asked: LabelledPrompts,
    values: Mapping[Node, Float[Tensor, "n d"]],
    spans: NDArray[np.float64],
) -> dict[Node, Effects]:
    """Of each node what patching it alone gives back, as a share of what lies between corrupted and clean prompts:
    `[n]` logits, of each prompt. `direct` is what its change adds to the last residual stream, where it is an output
    at the end."""
    found: dict[Node, Effects] = {}
    before = read_nodes(model, asked, list(values))
    by_layer: dict[int | None, list[Node]] = {}
    for node in values:
        by_layer.setdefault(node.hook.layer, []).append(node)
    with progress("patch heads", len(values), "places") as bar:
        for nodes in by_layer.values():
            bench = Bench(model, asked, nodes)
            base = bench.clean.difference
            for node in nodes:
                back = bench.with_values({node: values[node]}).difference - base
                effect = jackknife(np.stack([back, spans], axis=1), lambda s: s[..., 0] / s[..., 1]).interval()
                direct = _direct(model, asked, node, values[node] - before[node]) - float(base.mean())
                found[node] = Effects(effect, direct / float(spans.mean()) if _writes_at_end(node) else 0.0)
                bar.advance(1)
    return {node: found[node] for node in values}


@torch.no_grad()
def attention(
    model: SubjectModel, prompts: LabelledPrompts, task: Task, heads: Sequence[Head]
) -> dict[Node, dict[str, float]]:
    """Of the output of each of some heads its mean attention from its token to every role that lies at it or before.

    A head's output is a sum of values weighted by attention, so a vector added to one value comes out as that vector
    times the attention to it: exact for every architecture, without its attention being looked into.
    """
    found: dict[Node, dict[str, float]] = {}
    by_layer: dict[int, list[Node]] = {}
    for node in dict.fromkeys(map(_node, heads)):
        by_layer.setdefault(node.hook.layer or 0, []).append(node)
    for layer, nodes in by_layer.items():
        value, output = Hook(f"blocks.{layer}.attn.hook_v"), Hook(f"blocks.{layer}.{OUTPUT}")
        width, (n_heads, d_head) = model.width(value), model.per_head(output)
        direction = torch.ones(width)
        sums = {(node, role): 0.0 for node in nodes for role in task.roles}
        for part in batches(prompts):
            tokens, each = torch.from_numpy(part.tokens), torch.arange(len(part))
            plain = model.run(tokens, read=[output], logits=False).values[output]
            for role in task.roles:
                where = at(torch.from_numpy(part.roles[role]))
                edits = bound(add(value, direction, where=where))
                moved = model.run(tokens, edits=edits, read=[output], logits=False).values[output]
                share = (moved - plain).float().view(*plain.shape[:2], n_heads, d_head).mean(-1)
                for node in nodes:
                    places = torch.from_numpy(part.roles[node.role])
                    sums[node, role] += float(share[each, places, node.hook.head or 0].sum())
        for node in nodes:
            found[node] = {role: round(sums[node, role] / len(prompts), 4) for role in task.roles}
    return found


def _said(model: SubjectModel, prompts: LabelledPrompts) -> Said:
    """What a model says of prompts."""
    found = list[Said]()
    with torch.no_grad():
        for part in batches(prompts):
            last = model.last(torch.from_numpy(part.tokens))
            found.append(said_by(model, part, last[torch.arange(len(part)), torch.from_numpy(part.ends)]))
    return joined(found)


def _asked_as(clean: LabelledPrompts, corrupted: LabelledPrompts) -> LabelledPrompts:
    """Corrupted prompts that are asked for the answers of the clean ones, and looked at where these have their
    roles."""
    own = {"answers": clean.answers, "others": clean.others, "roles": clean.roles}
    return LabelledPrompts(**{**vars(corrupted), **own})


def _writes_at_end(node: Node) -> bool:
    return node.hook.site == OUTPUT and node.role == END


def _direct(model: SubjectModel, prompts: LabelledPrompts, node: Node, change: Float[Tensor, "n d"]) -> float:
    """Mean logit difference where what a head's change writes is added to the last residual stream alone."""
    if not _writes_at_end(node):
        return 0.0
    whole = torch.zeros(len(change), model.width(node.hook.whole))
    d_head, head = change.shape[1], node.hook.head or 0
    whole[:, head * d_head : (head + 1) * d_head] = change
    written = model.writes(node.hook.whole).to_stream(whole.to(model.device)).cpu()
    last = Node(Hook(f"blocks.{model.n_layers - 1}.hook_resid_post"), END)
    bench = Bench(model, prompts, [last])
    there = read_nodes(model, prompts, [last])[last]
    return float(bench.with_values({last: there + written}).difference.mean())


def _drawn(others: Sequence[Node], config: TaskConfig) -> list[Node]:
    chance = generator(config.seed, "not on the shortlist")
    return [others[place] for place in sorted(chance.permutation(len(others))[:N_DRAWN])]


def _missed(
    path: str,
    effects: Mapping[Node, Effects],
    estimates: Mapping[Node, float],
    listed: Sequence[Node],
    drawn: Sequence[Node],
    span: float,
    config: TaskConfig,
) -> list[Figure]:
    """How far attribution can be trusted: its error on what was patched, and how much it missed."""
    error = np.array([estimates[node] / span - effects[node].effect.value for node in listed])
    missed = np.array([abs(effects[node].effect.value) >= config.threshold for node in drawn], dtype=bool)
    return [
        mean_figure(
            f"{path}/attribution_error",
            np.abs(error),
            "mean absolute difference of attribution's estimate and exact patching, as shares of the effect of "
            "corruption, over the places that attribution ranked highest",
            over="places",
        ),
        mean_figure(
            f"{path}/missed",
            missed,
            "share of places drawn from those that attribution did not rank high whose exact effect is above the "
            "threshold",
            over="places",
            share=True,
        ),
    ]


def _head(node: Node, way: str, effects: Effects, estimate: float) -> Head:
    low, high = effects.effect.ends
    return Head(
        hook=str(node.hook),
        role=node.role,
        corruption=way,
        effect=effects.effect.value,
        ci_low=low,
        ci_high=high,
        estimate=estimate,
        direct=effects.direct,
    )


def _node(head: Head) -> Node:
    return Node(Hook(head.hook), head.role)


def _named(head: Head) -> Head:
    """A head with what it does in words: at the end whether it writes the answer itself or what later heads read, and
    in any case at which token it looks most."""
    if Hook(head.hook).site != OUTPUT:
        return head
    looked = max(head.looks_at, key=lambda role: head.looks_at[role], default="")
    what = ""
    if head.role == END:
        what = "writes the answer" if abs(head.direct) >= abs(head.effect) / 2 else "tells later heads"
        what = what if head.effect > 0 else f"{what}, against it"
    said = f"looks at {looked}" if looked and head.looks_at[looked] >= 0.2 else "looks elsewhere"
    return head.model_copy(update={"kind": ", ".join(filter(None, (what, said)))})


_KINDS = {
    "attn.hook_q": "queries",
    "attn.hook_k": "keys",
    "attn.hook_v": "values",
    OUTPUT: "outputs",
}


def _sections(heads: Sequence[Head], config: TaskConfig) -> Iterator[Place]:
    """Heads of one kind at one token together; outputs at the end in those that write the answer and those that tell
    later heads."""
    found: dict[tuple[str, str], list[Head]] = {}
    for head in heads:
        what = ""
        if Hook(head.hook).site == OUTPUT and head.role == END:
            what = " that write the answer" if abs(head.direct) >= abs(head.effect) / 2 else " that tell later heads"
        found.setdefault((f"{_KINDS[Hook(head.hook).site]} at {head.role}{what}", head.role), []).append(head)
    for (name, _), group in sorted(found.items()):
        strongest = dict.fromkeys(str(_node(head)) for head in sorted(group, key=lambda head: -abs(head.effect)))
        n_heads, nodes = len(strongest), tuple([*strongest][: config.most_nodes])
        words = f"the strongest {len(nodes)} of {n_heads} heads that patching found"
        yield Place(name=name, words=words, nodes=nodes)


def _residuals(model: SubjectModel) -> Iterator[Place]:
    """The residual stream at the last token behind a half and three quarters of the blocks, and before the last."""
    layers = sorted({round(share * (model.n_layers - 1)) for share in (0.5, 0.75)} | {max(0, model.n_layers - 2)})
    for layer in layers:
        node = Node(Hook(f"blocks.{layer}.hook_resid_post"), END)
        yield Place(name=f"residual stream {layer} at {END}", words="all that is known there", nodes=(str(node),))
