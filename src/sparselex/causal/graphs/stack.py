"""Transcoders in the places of a model's MLPs, on one prompt: what is active, what it writes, what it leaves over."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.latents import Latents
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.lm.subject import SubjectModel

_AT_ONCE = 256
"""Features whose encoder rows are found at a time."""

_STEP = 1e-2
"""How far an input is moved, as a share of its length, to see whether an activation follows it in a straight line."""


class Transcoder(NamedTuple):
    """A dictionary that stands for one MLP, or for several."""

    name: str
    """What it is called."""

    latents: Latents
    """The dictionary at its place."""

    counted: Bool[Tensor, " ctx"]
    """Tokens that it is shown; at others its features are absent, and all that the MLP writes is error."""


class Features(NamedTuple):
    """Active latents of one prompt, ordered by layer, position, latent."""

    owner: Int[Tensor, " n"]
    """Number of the transcoder."""

    latent: Int[Tensor, " n"]
    layer: Int[Tensor, " n"]
    """Block at which it reads."""

    position: Int[Tensor, " n"]
    act: Float[Tensor, " n"]
    rows: list[Float[Tensor, " d_in"]]
    """Of each the gradient of its activation by all that its transcoder reads: its encoder row."""

    n_left_out: int
    """Active latents beyond the number that was asked for; what they write is counted as error."""

    def __len__(self) -> int:
        return len(self.owner)

    def at(self, chosen: Int[Tensor, " m"]) -> "Features":
        """These alone."""
        owner, latent, layer = self.owner[chosen], self.latent[chosen], self.layer[chosen]
        rows = [self.rows[number] for number in chosen.tolist()]
        return Features(owner, latent, layer, self.position[chosen], self.act[chosen], rows, len(self) - len(chosen))


class Stack:
    """Transcoders of a model that stand for the MLPs of some of its blocks. Raises `UserError` for one that writes
    anywhere but at `hook_mlp_out` or reads behind it, and where two write the same place."""

    def __init__(self, model: SubjectModel, transcoders: Sequence[Transcoder]):
        self.model, self.transcoders = model, list(transcoders)
        read = [hook for one in transcoders for hook in one.latents.read]
        written = [hook for one in transcoders for hook in one.latents.written]
        for one in transcoders:
            _check(one)
        if twice := sorted({hook for hook in written if written.count(hook) > 1}):
            said = ", ".join(twice)
            raise UserError(f"{said} is written by two transcoders.", "one for each MLP", "leave one of them out.")
        self.read = list(dict.fromkeys(read))
        self.first = min(hook.layer or 0 for hook in read)
        self.input = Hook(f"blocks.{self.first}.hook_resid_pre")
        """Where the graph begins: the stream that enters the first block with a transcoder."""

        self.mlps = [Hook(f"blocks.{layer}.hook_mlp_out") for layer in range(self.first, model.n_layers)]
        """What MLPs write from there on, with a transcoder or without."""

    def owner_of(self, mlp: Hook) -> Transcoder | None:
        """The transcoder that writes there."""
        return next((one for one in self.transcoders if mlp in one.latents.columns), None)

    def read_by(self, one: Transcoder, values: Mapping[Hook, Tensor]) -> Float[Tensor, "*batch ctx d_in"]:
        """All that a transcoder reads, of values by hook; what is not there yet is zero."""
        known = next(values[hook] for hook in one.latents.read if hook in values)
        widths = {hook: self.model.width(hook) for hook in one.latents.read}
        absent = lambda hook: known.new_zeros(*known.shape[:-1], widths[hook])
        return torch.cat([values[hook] if hook in values else absent(hook) for hook in one.latents.read], dim=-1)

    def constant(self, mlp: Hook) -> Float[Tensor, "ctx d_model"] | None:
        """What a transcoder writes there whatever is active: its `b_dec`; None where there is no transcoder."""
        one = self.owner_of(mlp)
        if one is None:
            return None
        bias = one.latents.dictionary.b_dec.detach()[one.latents.columns[mlp]]
        return bias * one.counted[:, None].to(bias)

    def past(self, mlp: Hook, values: Mapping[Hook, Tensor]) -> Float[Tensor, "*batch ctx d_model"] | None:
        """What passes its latents by on a linear way, of what is read there; None where nothing does."""
        one = self.owner_of(mlp)
        if one is None:
            return None
        x = self.read_by(one, values)
        found = one.latents.dictionary.bypass(x.flatten(0, -2))
        if found is None:
            return None
        return found.view(*x.shape[:-1], -1)[..., one.latents.columns[mlp]] * one.counted[:, None].to(found)

    def features(self, values: Mapping[Hook, Float[Tensor, "ctx _"]], most: int) -> Features:
        """What is active, `most` at most: those that write the longest vectors for their place. Raises `UserError` for
        a dictionary whose activations do not follow their input in a straight line."""
        found = [self._active(number, one, values) for number, one in enumerate(self.transcoders)]
        joined = lambda name: torch.cat([getattr(part, name) for part in found])
        owner, latent, layer, position, act = map(joined, Features._fields[:5])
        whole = Features(owner, latent, layer, position, act, [row for part in found for row in part.rows], 0)
        order = sorted(range(len(whole)), key=[*zip(layer.tolist(), position.tolist(), strict=True)].__getitem__)
        whole = whole.at(torch.tensor(order, dtype=torch.long))
        if len(whole) <= most:
            return whole
        lengths = torch.zeros(len(whole))
        for mlp in self.mlps:
            at, vectors = self.written(whole, mlp)
            size = values[mlp].norm(dim=-1).mean().clamp_min(torch.finfo(torch.float32).tiny)
            lengths[at] += (vectors.norm(dim=-1) / size).cpu()
        return whole.at(lengths.topk(most).indices.sort().values)

    def written(self, features: Features, mlp: Hook) -> tuple[Int[Tensor, " m"], Float[Tensor, "m d_model"]]:
        """The features that write at one MLP's place, and what each adds there."""
        one = self.owner_of(mlp)
        if one is None:
            return torch.zeros(0, dtype=torch.long), torch.zeros(0, self.model.d_model, device=self.model.device)
        owners = torch.tensor([other is one for other in self.transcoders])
        assert mlp.layer is not None
        at = (owners[features.owner] & (features.layer <= mlp.layer)).nonzero()[:, 0]
        W_dec = one.latents.dictionary.W_dec.detach()
        rows = W_dec[features.latent[at].to(W_dec.device)][:, one.latents.columns[mlp]]
        return at, rows * features.act[at].to(rows)[:, None]

    def _active(self, number: int, one: Transcoder, values: Mapping[Hook, Tensor]) -> Features:
        x, dictionary = self.read_by(one, values), one.latents.dictionary
        with torch.no_grad():
            codes = dictionary.encode_sparse(x)
        shown = one.counted.to(codes.rows.device)[codes.rows] & (codes.values != 0)
        position, latent, act = codes.rows[shown], codes.indices[shown], codes.values[shown]
        rows = _rows(one, x[position], latent, act)
        layers = _layers(one, rows, [self.model.width(hook) for hook in one.latents.read])
        owner = torch.full((len(latent),), number)
        return Features(owner, latent.cpu(), layers, position.cpu(), act.float().cpu(), [*rows], 0)


def _rows(
    one: Transcoder, x: Float[Tensor, "n d_in"], latent: Int[Tensor, " n"], act: Float[Tensor, " n"]
) -> Float[Tensor, "n d_in"]:
    """Of each activation its gradient by what is read, once it has been seen to be all there is to it."""
    dictionary, found = one.latents.dictionary, torch.zeros_like(x)
    draws = torch.Generator(device="cpu").manual_seed(0)
    for start in range(0, len(x), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        with torch.enable_grad():
            at = x[here].detach().requires_grad_()
            acts = dictionary.encode(at).gather(1, latent[here, None])[:, 0]
            found[here] = torch.autograd.grad(acts.sum(), at)[0] if acts.requires_grad else 0
        move = torch.randn(at.shape, generator=draws).to(at)
        move = move * (_STEP * at.detach().norm(dim=-1, keepdim=True) / move.norm(dim=-1, keepdim=True))
        with torch.no_grad():
            there = dictionary.encode(x[here] + move).gather(1, latent[here, None])[:, 0]
        stays = there != 0
        off = (there - acts.detach() - (found[here] * move).sum(-1))[stays].abs()
        size = found[here].norm(dim=-1)[stays] * move.norm(dim=-1)[stays] + _STEP * act[here][stays].abs()
        if not acts.requires_grad or bool((off > 1e-2 * size).any()):
            raise _crooked(one, dictionary)
    return found


def _crooked(one: Transcoder, dictionary: Dictionary) -> UserError:
    return UserError(
        f"Latents of {one.name} ({type(dictionary).__name__}) do not follow what they read in a straight line.",
        "a type whose active latents are linear in the input: relu, topk, batchtopk, jumprelu, matryoshka, clt, "
        "without token_norm",
        "train a transcoder of such a type.",
    )


def _layers(one: Transcoder, rows: Float[Tensor, "n d_in"], widths: Sequence[int]) -> Int[Tensor, " n"]:
    """The last block whose values each latent reads."""
    found, start = torch.full((len(rows),), one.latents.read[0].layer or 0), 0
    for hook, width in zip(one.latents.read, widths, strict=True):
        reads = rows[:, start : start + width].cpu().abs().sum(-1) > 0
        found = torch.where(reads, torch.maximum(found, torch.tensor(hook.layer or 0)), found)
        start += width
    return found


def _check(one: Transcoder) -> None:
    """Raise `UserError` for what is no transcoder of MLPs."""
    reads, writes = one.latents.read, one.latents.written
    apart = all(hook.site == "hook_mlp_out" for hook in writes) and all(hook.layer is not None for hook in reads)
    before = all(hook.site not in ("hook_mlp_out", "hook_resid_post") and hook.head is None for hook in reads)
    layers = sorted(hook.layer or 0 for hook in reads), sorted(hook.layer or 0 for hook in writes)
    if not apart or not before or layers[0] != layers[1]:
        raise UserError(
            f"{one.name} reads {'+'.join(reads)} and writes {'+'.join(writes)}.",
            "a transcoder of MLPs: blocks.N.hook_mlp_in, or what stands before it, to blocks.N.hook_mlp_out",
            "begin such a run with `sparselex harvest --hook blocks.N.hook_mlp_in --target blocks.N.hook_mlp_out`.",
        )
