"""What a graph says that a change of one feature does to later nodes, and what it does when it is made.

The claim is linear: edges are followed along all paths. It is held against two models, both with attention as it was:
the replacement model, where transcoders code anew what changes and what they left over stays, and the model itself,
where MLPs and norms answer too.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.sites import Hook
from sparselex.causal.graphs.local import Direct, LocalModel
from sparselex.causal.graphs.stack import Transcoder
from sparselex.lm.subject import Edit

Changed = Literal["replacement", "model"]
"""In which model a change is made."""


class Push(NamedTuple):
    """A change of what MLPs write at one token."""

    position: int
    vectors: dict[Hook, Float[Tensor, " d_model"]]
    """What is added, by place."""


def push_of(local: LocalModel, number: int, factor: float) -> Push:
    """A feature at `factor` times its activation: 0 takes it away, 2 doubles it."""
    one = local.features.at(torch.tensor([number]))
    vectors = {mlp: local.stack.written(one, mlp)[1] for mlp in local.stack.mlps}
    position = int(one.position[0])
    return Push(position, {mlp: (factor - 1) * found[0] for mlp, found in vectors.items() if len(found)})


def random_push(local: LocalModel, number: int, factor: float, generator: torch.Generator) -> Push:
    """In the same places a change as long, along what a latent drawn from the same transcoder and block writes."""
    own = push_of(local, number, factor)
    dictionary = local.stack.transcoders[int(local.features.owner[number])].latents.dictionary
    columns = local.stack.transcoders[int(local.features.owner[number])].latents.columns
    W_dec = dictionary.W_dec.detach()
    place = next(iter(own.vectors))
    writes = W_dec[:, columns[place]].norm(dim=-1) > 0
    earlier = [hook for hook in columns if (hook.layer or 0) < (place.layer or 0)]
    for hook in earlier:  # of those that read this very block
        writes &= W_dec[:, columns[hook]].norm(dim=-1) == 0
    writes[int(local.features.latent[number])] = False
    could = writes.nonzero()[:, 0]
    if not len(could):
        return own._replace(vectors={hook: vector.flip(0) for hook, vector in own.vectors.items()})
    row = W_dec[could[int(torch.randint(len(could), (1,), generator=generator))]]
    size = torch.cat([*own.vectors.values()]).norm()
    length = torch.cat([row[columns[hook]] for hook in own.vectors]).norm()
    sign = 1.0 if factor > 1 else -1.0
    vectors = {hook: sign * size / length * row[columns[hook]] for hook in own.vectors}
    return own._replace(vectors=vectors)


def predicted(
    local: LocalModel, direct: Direct, numbers: Int[Tensor, " m"], factors: Float[Tensor, " m"]
) -> Float[Tensor, "m n_targets"]:
    """What the graph says that every target (features, then outputs) changes by, along all paths, when each of some
    features stands at a factor of its activation."""
    features, outputs = local.span("features"), local.span("outputs")
    among = direct.adjacency[features, features]
    shares = torch.zeros(len(local.features), len(numbers))
    columns = torch.arange(len(numbers))
    for _ in range(local.model.n_layers + 1):
        shares[numbers, columns] = factors - 1
        moved = among @ shares
        after = moved / local.features.act[:, None]
        after[numbers, columns] = factors - 1
        if torch.equal(after, shares):
            break
        shares = after
    return torch.cat([moved, direct.adjacency[outputs, features] @ shares]).T


@torch.no_grad()
def measured(
    local: LocalModel, pushes: Sequence[Push], where: Changed, batch: int = 16
) -> Float[Tensor, "m n_targets"]:
    """What every target changes by when each of some changes is made: activations (a feature that falls silent loses
    all of its own), then centred logits."""
    found = [_measured(local, pushes[start : start + batch], where) for start in range(0, len(pushes), batch)]
    return torch.cat(found)


def _measured(local: LocalModel, pushes: Sequence[Push], where: Changed) -> Tensor:
    rows = local.rows(len(pushes))
    read = local.stack.read
    if where == "model":
        edits = local.held_attention | {mlp: _added(mlp, pushes) for mlp in local.stack.mlps}
        seen = local.model.run(rows, edits=edits, read=read)
    else:
        with local.frozen.norms():
            seen = local.model.run(rows, edits=local.held_attention | _replaced(local, pushes), read=read)
    values = {hook: seen.values[hook].float() for hook in read}
    acts = torch.zeros(len(pushes), len(local.features))
    for number, one in enumerate(local.stack.transcoders):
        own = (local.features.owner == number).nonzero()[:, 0]
        if len(own):
            coded = one.latents.dictionary.encode(local.stack.read_by(one, values))
            acts[:, own] = coded[:, local.features.position[own], local.features.latent[own]].float().cpu()
    last = seen.logits[:, -1].float()
    logits = (last[:, local.outputs.tokens] - last.mean(-1, keepdim=True)).cpu()
    return torch.cat([acts - local.features.act, logits - local.outputs.logits.cpu()], dim=1)


def _added(mlp: Hook, pushes: Sequence[Push]) -> Edit:
    def edit(x: Tensor) -> Tensor:
        new = x.clone()
        for row, push in enumerate(pushes):
            if mlp in push.vectors:
                new[row, push.position] += push.vectors[mlp].to(x)
        return new

    return edit


def _replaced(local: LocalModel, pushes: Sequence[Push]) -> dict[str, Edit]:
    """Edits by which every MLP writes what it wrote, but for what its transcoder now codes otherwise, and the push."""
    seen = dict[Hook, Tensor]()
    plain = {id(one): _coded(local, one, local.values) for one in local.stack.transcoders}
    rows_of = {id(one): one.latents.dictionary.W_dec.detach() for one in local.stack.transcoders}

    def note(hook: Hook) -> Edit:
        def noted(x: Tensor) -> Tensor:
            seen[hook] = x.float()
            return x

        return noted

    def put(mlp: Hook) -> Edit:
        def written(x: Tensor) -> Tensor:
            value = local.values[mlp].expand(*x.shape)
            one = local.stack.owner_of(mlp)
            if one is not None:
                # What later blocks read is not there yet: their latents write nothing here.
                moved = _coded(local, one, seen) - plain[id(one)]
                value = value + moved @ rows_of[id(one)][:, one.latents.columns[mlp]]
                past, before = local.stack.past(mlp, seen), local.stack.past(mlp, local.values)
                if past is not None and before is not None:
                    value = value + past - before
            return _added(mlp, pushes)(value).to(x)

        return written

    return {**{hook: note(hook) for hook in local.stack.read}, **{mlp: put(mlp) for mlp in local.stack.mlps}}


def _coded(local: LocalModel, one: Transcoder, values: Mapping[Hook, Tensor]) -> Float[Tensor, "*batch ctx d_sae"]:
    acts = one.latents.dictionary.encode(local.stack.read_by(one, values))
    return acts * one.counted[:, None].to(acts)
