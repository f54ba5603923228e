"""What a model loses when reconstructions stand at its sites: by how far its predictions move, and what it computes on
the way to them; with gradients to the reconstructions."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.edits import EVERYWHERE, Edits, bound, put
from sparselex.causal.predictions import AT_ONCE, divergences, log_probabilities, losses
from sparselex.lm.kept import Kept
from sparselex.lm.subject import Edit as Change
from sparselex.lm.subject import Place, SubjectModel

Places = Sequence[Place]
"""Sites, each with its model and its columns in what is put there."""


class Weights(NamedTuple):
    """What a unit of each loss weighs in their sum."""

    kl: float
    """Divergence of the predictions."""

    downstream: float
    """Error of the residual streams behind the sites; of weight 0 it is not even measured."""


class Lost(NamedTuple):
    """What is lost of some rows."""

    whole: Float[Tensor, ""]
    """Both, weighed; gradients flow to the reconstructions."""

    kl: Float[Tensor, ""]
    """Sum over predictions of KL(p || q) in nats: p are those of the model as it is, q those with the
    reconstructions."""

    downstream: Float[Tensor, ""]
    """Sum over tokens of the squared error of a residual stream behind the sites, as a share of how that stream varies
    over the counted tokens of all rows, the mean over all these streams."""


KL_ALONE = Weights(1.0, 0.0)

Stream = tuple[int, Hook]
"""A residual stream: which model, by identity, and its hook."""


class _Plain(NamedTuple):
    """An undisturbed pass."""

    start: Kept | Tensor
    """What a pass with edits begins with."""

    last: Float[Tensor, "n d_last"]
    """What the unembedding read where predictions count."""

    streams: Mapping[Hook, Float[Tensor, "n d_model"]]
    """Residual streams behind the sites, at the counted tokens; empty where they were not asked for."""


class PlainRows:
    """Some rows of tokens and the undisturbed passes over them. A pass is made when it is first needed and then kept:
    whatever is put at the same sites shares it."""

    def __init__(
        self,
        tokens: Int[Tensor, "batch ctx"],
        counted: Bool[Tensor, "batch ctx"],
        predicted: Bool[Tensor, "batch ctx-1"],
    ):
        """`counted` are the tokens whose values are replaced, `predicted` the tokens, all but the last, behind which a
        prediction counts."""
        self.counted, self._tokens, self._predicted = counted, tokens, predicted
        self._plain: dict[tuple[int, Hook | None, bool], _Plain] = {}

    def divergence(self, places: Places, x_hat: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """What `divergence` gives of these rows alone; all of what the gradient needs lies in memory."""
        return self.lost(places, x_hat, KL_ALONE, {}).whole

    def lost(
        self, places: Places, x_hat: Float[Tensor, "n d"], weights: Weights, variances: Mapping[Stream, float]
    ) -> Lost:
        """What `lost` gives of these rows, given how each stream varies over all rows."""
        models = {id(place.model): place.model for place in places}
        parts = [
            self._of(model, [one for one in places if one.model is model], x_hat, weights, variances)
            for model in models.values()
        ]
        return Lost(*(torch.stack(column).sum() for column in zip(*parts, strict=True)))

    def streams(self, places: Places) -> dict[Stream, Float[Tensor, "n d_model"]]:
        """What is in each residual stream behind the sites at the counted tokens, undisturbed."""
        found = dict[Stream, Tensor]()
        for model in {id(place.model): place.model for place in places}.values():
            hooks = [place.hook for place in places if place.model is model]
            plain = self._plain_of(model, hooks, streams_behind(model, hooks))
            found |= {(id(model), hook): values for hook, values in plain.streams.items()}
        return found

    def gradient(self, places: Places, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Of the cross-entropy, summed over the predictions that count, at the counted tokens, where `x` is what the
        model has there."""
        found = torch.zeros_like(x)
        for model in {id(place.model): place.model for place in places}.values():
            own = [place for place in places if place.model is model]
            start = self._plain_of(model, [place.hook for place in own], []).start
            values = x.detach().clone().requires_grad_()
            with torch.enable_grad():
                edits = bound(self._put(own, values))
                last = self._predicting(model.last(start, edits, grad=True))
            targets = self._tokens[:, 1:][self._predicted].to(last.device)

            def of(part: Tensor, first: int, model: SubjectModel = model, targets: Tensor = targets) -> Tensor:
                log_p = log_probabilities(model.predict(part, grad=True))
                return losses(log_p, targets[first : first + len(part)]).sum()

            sizes = _sizes(len(last), max(1, AT_ONCE // model.n_vocab))
            with torch.enable_grad():
                (grad,) = torch.autograd.grad(_part_by_part(last, sizes, of), values)
            found += grad
        return found

    def _put(self, places: Places, values: Float[Tensor, "n d"]) -> Edits:
        """Edits that put values of the counted tokens at some sites."""
        edits: Edits = ()
        for place in places:
            whole = values.new_zeros(*self.counted.shape, place.width)
            whole[self.counted.to(values.device)] = values[:, place.columns]
            edits += put(place.hook, whole, EVERYWHERE.within(self.counted))
        return edits

    def _of(
        self, model: SubjectModel, places: Places, x_hat: Tensor, weights: Weights, variances: Mapping[Stream, float]
    ) -> Lost:
        hooks = [place.hook for place in places]
        behind = streams_behind(model, hooks) if weights.downstream else []
        start, reference, streams = self._plain_of(model, hooks, behind)
        edits = self._put(places, x_hat)
        seen = dict[Hook, Tensor]()

        def noted(hook: Hook) -> Change:
            def note(x: Tensor) -> Tensor:
                seen[hook] = x
                return x

            return note

        notes: dict[str, Change] = {hook: noted(hook) for hook in behind}
        last = self._predicting(model.last(start, {**bound(edits), **notes}, grad=x_hat.requires_grad))

        def of(part: Tensor, first: int) -> Tensor:
            p = log_probabilities(model.predict(reference[first : first + len(part)]))
            return divergences(p, log_probabilities(model.predict(part, grad=True))).sum()

        kl = _part_by_part(last, _sizes(len(last), max(1, AT_ONCE // model.n_vocab)), of)
        if not behind:
            return Lost(weights.kl * kl, kl.detach(), kl.new_zeros(()))
        errors = [
            (self._counted(seen[hook]).float() - streams[hook]).square().sum() / variances[id(model), hook]
            for hook in behind
        ]
        downstream = torch.stack(errors).mean().to(kl)
        return Lost(weights.kl * kl + weights.downstream * downstream, kl.detach(), downstream.detach())

    def _plain_of(self, model: SubjectModel, hooks: Sequence[Hook], behind: Sequence[Hook]) -> _Plain:
        """An undisturbed pass as one with edits at these hooks needs it."""
        first = first_of(model, hooks)
        key = id(model), first, bool(behind)
        if key not in self._plain:
            kept = None if first is None else model.keep(self._tokens, first, positions=False)
            start = self._tokens if kept is None else kept
            last = model.last(self._tokens) if kept is None else kept.last
            with torch.no_grad():
                read = model.run(start, read=behind, logits=False).values if behind else {}
            streams = {hook: self._counted(read[hook]).float() for hook in behind}
            self._plain[key] = _Plain(start, self._predicting(last), streams)
        return self._plain[key]

    def _counted(self, values: Tensor) -> Tensor:
        return values[self.counted.to(values.device)]

    def _predicting(self, last: Tensor) -> Tensor:
        return last[:, :-1][self._predicted.to(last.device)]


def divergence(rows: Sequence[PlainRows], places: Places, x_hat: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Sum over all predictions that count, in nats, of KL(p || q): p are those of the model as it is, q those with
    `x_hat` at all `places` at once. Divided by their number it is the divergence that `evaluate` reports.

    Args:
        rows: one after another; memory holds what the gradient needs of one of them, and logits of some hundred
            predictions.
        places: sites, and their columns in `x_hat`; where they are of several models, the sum is over these as well.
        x_hat: values for the counted tokens, row by row. Gradients reach it.

    Raises `UserError` for a place that cannot be edited.
    """
    return lost(rows, places, x_hat, KL_ALONE).whole


def lost(rows: Sequence[PlainRows], places: Places, x_hat: Float[Tensor, "n d"], weights: Weights) -> Lost:
    """What is lost of all rows, weighed, like `divergence`. Raises `UserError` like it, and for sites behind which no
    residual stream lies, where its error is to count."""
    changed = [part for part in rows if part.counted.any()]
    parts, apart = iter(changed), list[Lost]()
    # Of all rows together: how many are passed at a time hangs on memory, and decides nothing.
    variances = _variances(changed, places) if weights.downstream else {}

    def of(part: Tensor, _: int) -> Tensor:
        apart.append(next(parts).lost(places, part, weights, variances))
        return apart[-1].whole

    whole = _part_by_part(x_hat, [int(part.counted.sum()) for part in changed], of)
    total = lambda values: torch.stack(values).sum() if values else x_hat.new_zeros(())
    return Lost(whole, total([one.kl for one in apart]), total([one.downstream for one in apart]))


def loss_gradient(rows: Sequence[PlainRows], places: Places, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The gradient of the cross-entropy, summed over all predictions that count, at all `places` at once, where `x`
    `[n, d]` is what the model has at the counted tokens, row by row. Raises `UserError` like `divergence`."""
    changed = [part for part in rows if part.counted.any()]
    parts = x.split([int(part.counted.sum()) for part in changed])
    return torch.cat(
        [torch.zeros_like(x[:0]), *(part.gradient(places, own) for part, own in zip(changed, parts, strict=True))]
    )


def places_in(places: Places, columns: slice) -> list[Place]:
    """Those of some sites that lie in a range of their columns, counted from its start."""
    start, stop, _ = columns.indices(max((place.columns.stop for place in places), default=0))
    inside = [place for place in places if start <= place.columns.start and place.columns.stop <= stop]
    return [one._replace(columns=slice(one.columns.start - start, one.columns.stop - start)) for one in inside]


def first_of(model: SubjectModel, hooks: Sequence[Hook]) -> Hook | None:
    """The first of some hooks in the order of the pass, with which it is taken up; None where that is not known."""
    if len(hooks) == 1:
        return hooks[0]
    order = {point.name: number for number, point in enumerate(model.hooks())}
    if any(hook.whole not in order for hook in hooks):
        return None
    return min(hooks, key=lambda hook: order[hook.whole])


def _variances(rows: Sequence[PlainRows], places: Places) -> dict[Stream, float]:
    """Of each residual stream behind the sites its summed variance over the counted tokens of all rows."""
    each = [part.streams(places) for part in rows]
    found = dict[Stream, float]()
    for stream in each[0] if each else ():
        n = sum(len(one[stream]) for one in each)
        mean = torch.stack([one[stream].double().sum(0) for one in each]).sum(0) / n
        squares = sum(float((one[stream].double() - mean).square().sum()) for one in each)
        found[stream] = max(squares / n, torch.finfo(torch.float32).tiny)
    return found


def streams_behind(model: SubjectModel, hooks: Sequence[Hook]) -> list[Hook]:
    """The residual stream at the end of every block behind the first of some sites, but for those that are sites
    themselves. Raises `UserError` where there is none, or where that is not known."""
    order = [point.name for point in model.hooks()]
    first = first_of(model, hooks)
    place = order.index(first.whole) if first is not None and first.whole in order else len(order)
    whole = {hook.whole for hook in hooks}
    found = [hook for hook in order[place + 1 :] if hook.site == "hook_resid_post" and hook.whole not in whole]
    if not found:
        raise UserError(
            f"No residual stream of {model.name} lies behind {', '.join(map(str, hooks))}.",
            "a canonical hook that blocks come behind",
            "train with --finish kl or e2e there, which look at predictions alone.",
        )
    return found


def _sizes(n: int, most: int) -> list[int]:
    return [min(most, n - first) for first in range(0, n, most)]


def _part_by_part(x: Tensor, sizes: Sequence[int], of: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The sum of `of(part, first)` over parts of `x` of these sizes. Where gradients are wanted,
    each part's is computed with its value, and its graph is gone before the next one's is made."""
    grads, total, first = list[Tensor](), x.new_zeros(()), 0
    for size in sizes:
        part = x[first : first + size].detach().requires_grad_(x.requires_grad)
        with torch.set_grad_enabled(x.requires_grad):
            value = of(part, first)
        if value.requires_grad:
            value.backward()
        grads.append(torch.zeros_like(part) if part.grad is None else part.grad)
        total, first = total + value.detach().to(total), first + len(part)
    return _Known.apply(x, total, torch.cat(grads)) if x.requires_grad and grads else total


class _Known(torch.autograd.Function):
    """A number whose gradient is known already."""

    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return value.clone()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (of_value,), (grad,) = grads, ctx.saved_tensors
        return of_value * grad, None, None
