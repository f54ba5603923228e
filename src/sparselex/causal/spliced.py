"""How far a model's predictions move when reconstructions stand at its sites, with gradients to the reconstructions."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.sites import Hook
from sparselex.causal.edits import EVERYWHERE, Edits, bound, put
from sparselex.causal.predictions import AT_ONCE, divergences, log_probabilities
from sparselex.lm.kept import Kept
from sparselex.lm.subject import Place, SubjectModel

Places = Sequence[Place]
"""Sites, each with its model and its columns in what is put there."""


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
        self._plain: dict[tuple[int, Hook | None], tuple[Kept | Tensor, Tensor]] = {}

    def divergence(self, places: Places, x_hat: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """What `divergence` gives of these rows alone; all of what the gradient needs lies in memory."""
        models = {id(place.model): place.model for place in places}
        parts = [self._of(model, [one for one in places if one.model is model], x_hat) for model in models.values()]
        return torch.stack(parts).sum()

    def _of(self, model: SubjectModel, places: Places, x_hat: Tensor) -> Tensor:
        start, reference = self._plain_of(model, [place.hook for place in places])
        edits: Edits = ()
        for place in places:
            values = x_hat.new_zeros(*self.counted.shape, place.width)
            values[self.counted.to(x_hat.device)] = x_hat[:, place.columns]
            edits += put(place.hook, values, EVERYWHERE.within(self.counted))
        last = self._predicting(model.last(start, bound(edits), grad=x_hat.requires_grad))

        def of(part: Tensor, first: int) -> Tensor:
            p = log_probabilities(model.predict(reference[first : first + len(part)]))
            return divergences(p, log_probabilities(model.predict(part, grad=True))).sum()

        return _part_by_part(last, _sizes(len(last), max(1, AT_ONCE // model.n_vocab)), of)

    def _plain_of(self, model: SubjectModel, hooks: Sequence[Hook]) -> tuple[Kept | Tensor, Tensor]:
        """What a pass with edits at these hooks begins with, and what the unembedding read without them."""
        first = first_of(model, hooks)
        key = id(model), first
        if key not in self._plain:
            kept = None if first is None else model.keep(self._tokens, first, positions=False)
            last = model.last(self._tokens) if kept is None else kept.last
            self._plain[key] = (self._tokens if kept is None else kept), self._predicting(last)
        return self._plain[key]

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
    changed = [part for part in rows if part.counted.any()]
    parts = iter(changed)
    return _part_by_part(
        x_hat, [int(part.counted.sum()) for part in changed], lambda part, _: next(parts).divergence(places, part)
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
