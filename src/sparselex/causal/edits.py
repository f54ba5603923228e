"""Edits: what is changed of the values at a site, on which tokens of which rows. Data, one small vocabulary for all.

Every function here gives a tuple of edits, so that several are put together by `+`. What has a first dimension of rows
has one entry for each, so that each row of a batch can have a change of its own (another latent, strength, position),
or a single entry that serves all.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.seeds import checked
from sparselex.base.sites import Hook
from sparselex.causal.kinds import Add, Edit, OfLatent, Put, Through
from sparselex.causal.latents import Latents
from sparselex.causal.where import EVERYWHERE, Where
from sparselex.lm.subject import Edit as Change

Edits = tuple[Edit, ...]
"""Several edits, made in this order (`bound` says which at once)."""

Amount = float | Tensor
"""A number for all; `[batch]`, one for each row; or `[batch, ctx]`, one for each token of each row."""


def splice(latents: Latents, where: Where = EVERYWHERE, *, error: bool = False) -> Edits:
    """The reconstruction in the place of each value; with its `error` added, which changes nothing by itself.

    Raises `UserError` for a dictionary that reconstructs something else than it reads: what it would put in its place
    are values of another site, and `causal.edits.put` does that.
    """
    latents.check_reads_what_it_writes("spliced")
    if error:
        return (Through(hook=latents.hook, where=where, function=lambda x: x),)
    return (Through(hook=latents.hook, where=where, function=latents.dictionary),)


def put(hook: str, values: float | Tensor, where: Where = EVERYWHERE) -> Edits:
    """Values in the place of what is there: a number for all (0 ablates the site to zero), a vector `[d]` (its mean
    ablates it to the mean), one for each row `[batch, d]`, or values of another run `[batch, ctx, d]` (a patch, or what
    `resampled` drew)."""
    whole = torch.as_tensor(values, dtype=None if isinstance(values, Tensor) else torch.float32)
    return (Put(hook=Hook(hook), where=where, values=_vectors(whole)),)


def add(hook: str, direction: Tensor, by: Amount = 1.0, where: Where = EVERYWHERE) -> Edits:
    """A direction `[d]`, one for each row `[batch, d]`, or one for each token `[batch, ctx, d]`, times `by`."""
    return (Add(hook=Hook(hook), where=where, directions=_vectors(direction), by=_amounts(by)),)


def ablate(
    latents: Latents, number: int | Tensor, where: Where = EVERYWHERE, *, to: Amount = 0.0, known: Tensor | None = None
) -> Edits:
    """A latent's activation set to zero or to `to`: its mean, say, or what `resampled` drew of its activations at other
    tokens. `number` is a latent, or one for each row.

    Of the undisturbed model the activation may be `known`, `[batch, ctx]`: nothing is encoded then, and latents that
    read and write different sites, or several, can be ablated too. Several latents ablated one after another without
    that are each read after the edits before it.
    """
    return _of_latent(latents, number, where, to, known, times=False)


def resampled(
    values: Float[Tensor, "n ..."], n_tokens: int, seed: int | Sequence[int] = 0
) -> Float[Tensor, "batch {n_tokens} ..."]:
    """Of values at `n` tokens one for each of the first `n_tokens` tokens of a row, drawn with putting back: of a site
    `[n, d]` for `put`, of a latent `[n]` for `ablate(to=...)`. A row draws by `seed`, all by one or each by its own;
    what a token gets does not hang on how many follow. Raises `UserError` where there is nothing to draw from, and
    for a seed that is none."""
    if not len(values) or values.ndim > 2:
        raise UserError(
            f"Values of the shape {[*values.shape]} were given to draw from.",
            "[n] activations or [n, d] vectors, of one token at least",
            "flatten rows: `acts.flatten()`, or `values.flatten(0, 1)`.",
        )
    seeds = [seed] if isinstance(seed, int) else seed
    chance = [torch.Generator().manual_seed(checked(one)) for one in seeds]
    drawn = [torch.randint(len(values), (n_tokens,), generator=one) for one in chance]
    return values[torch.stack(drawn).to(values.device)]


def clamp(
    latents: Latents, number: int | Tensor, to: Amount, where: Where = EVERYWHERE, *, known: Tensor | None = None
) -> Edits:
    """A latent's activation set to `to` whether it is active or not; `known` as in `ablate`."""
    return _of_latent(latents, number, where, to, known, times=False)


def scale(
    latents: Latents, number: int | Tensor, by: Amount, where: Where = EVERYWHERE, *, known: Tensor | None = None
) -> Edits:
    """A latent's activation multiplied by `by`; `known` as in `ablate`."""
    return _of_latent(latents, number, where, by, known, times=True)


def steer(latents: Latents, number: int | Tensor, by: Amount, where: Where = EVERYWHERE) -> Edits:
    """A latent's direction added wherever it writes, as by `by` more of its activation."""
    return _along(latents, latents.checked(number), _amounts(by), where)


def bound(edits: Sequence[Edit], start: int | Tensor = 0, *, until: int | None = None) -> dict[str, Change]:
    """What a model takes, in a pass whose first position is `start` (or that of each row): by hook, the edits there in
    their order, computed in float32.

    Edits of activations of one dictionary that follow each other are made at once, from what the latents were before
    all of them, whatever their order: of several latents, and of one latent that is edited but once at a token.
    `until` is how many tokens the rows have once later passes have read theirs; without it this pass is all there is,
    and edits at a position that it does not compute are refused.
    """
    by_hook: dict[str, list[Edit]] = {}
    for edit in edits:
        by_hook.setdefault(edit.hook, []).append(edit)
    return {hook: _all_at(there, start, until) for hook, there in by_hook.items()}


def _all_at(edits: Sequence[Edit], start: int | Tensor, until: int | None) -> Change:
    def change(value: Tensor) -> Tensor:
        new, (n_rows, n) = value.clone(), value.shape[:2]
        first = torch.as_tensor(start).to(value.device).expand(n_rows)
        masks = [edit.where.tokens(n_rows, start, n, until).to(value.device) for edit in edits]
        for edit, mask in zip(edits, masks, strict=True):
            rows, places = mask.nonzero(as_tuple=True)
            edit.check(n_rows, value.shape[-1], int((places + first[rows]).max()) if len(rows) else 0)
        for together, masked in _at_once(edits, masks):
            rows, places = torch.stack(masked).any(0).nonzero(as_tuple=True)
            here = [mask[rows, places] for mask in masked]
            made = _made(together, here, new[rows, places].float(), rows, places + first[rows]).to(value)
            # A norm that squares them would make something of what is no number any more.
            if not bool(torch.isfinite(made.detach().square().sum())):
                raise UserError(
                    f"An edit at {edits[0].hook} leaves values too large for {value.dtype}, or none.",
                    "values at which the model still computes: whose squares are finite numbers",
                    "edit by less.",
                )
            new[rows, places] = made
        return new

    return change


def _at_once(edits: Sequence[Edit], masks: Sequence[Tensor]) -> Iterator[tuple[list[Edit], list[Tensor]]]:
    """The edits in their order, those together that are made from one encoding, with the tokens of each."""
    found, masked = list[Edit](), list[Tensor]()
    for edit, mask in zip(edits, masks, strict=True):
        if found and not all(_apart(edit, mask, *other) for other in zip(found, masked, strict=True)):
            yield found, masked
            found, masked = [], []
        found.append(edit)
        masked.append(mask)
    if found:
        yield found, masked


def _apart(edit: Edit, mask: Tensor, other: Edit, others: Tensor) -> bool:
    """Whether two edits may be made from one encoding: both of latents of one dictionary, of another latent or at other
    tokens."""
    if not (isinstance(edit, OfLatent) and isinstance(other, OfLatent)):
        return False
    if edit.latents.dictionary is not other.latents.dictionary:
        return False
    same = (edit.number.cpu() == other.number.cpu())[:, None].to(mask.device)
    return not bool((same & mask & others).any())


def _made(edits: Sequence[Edit], here: Sequence[Tensor], values: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """What edits that are made at once leave of values, each of those that it is `here` about."""
    if len(edits) == 1:
        return edits[0].change(values, rows, positions)
    of_latents = [edit for edit in edits if isinstance(edit, OfLatent)]
    latents, new = of_latents[0].latents, values
    codes = latents.dictionary.encode_sparse(values)
    for edit, chosen in zip(of_latents, here, strict=True):
        own = chosen.nonzero()[:, 0]
        old = latents.of_codes(codes, edit.numbers(rows)).to(values)[own]
        new = new.index_add(0, own, edit.added(old, rows[own], positions[own]))
    return new


def _of_latent(
    latents: Latents, number: int | Tensor, where: Where, to: Amount, known: Tensor | None, *, times: bool
) -> Edits:
    numbers, amounts = latents.checked(number), _amounts(to)
    if known is not None:
        if known.ndim != 2:
            raise UserError(
                f"Known activations of the shape {[*known.shape]} were given.",
                "[batch, ctx], one for each token of each row",
                "give `acts[None]` where there is one row.",
            )
        old = known.float()
        return _along(latents, numbers, (amounts - 1) * old if times else amounts - old, where)
    latents.check_reads_what_it_writes("edited by its own activation, which is not known,")
    return (OfLatent(hook=latents.hook, where=where, latents=latents, number=numbers, to=amounts, times=times),)


def _along(latents: Latents, numbers: Tensor, by: Tensor, where: Where) -> Edits:
    rows = {hook: latents.rows(numbers, hook)[:, None] for hook in latents.written}
    return tuple(Add(hook=hook, where=where, directions=row, by=by) for hook, row in rows.items())


def _vectors(values: Tensor) -> Float[Tensor, "#batch #ctx d"]:
    match values.ndim:
        case 0 | 1:
            return values.reshape(1, 1, -1)
        case 2:
            return values[:, None]
    return values


def _amounts(amount: Amount) -> Float[Tensor, "#batch #ctx"]:
    whole = torch.as_tensor(amount, dtype=torch.float32)
    return whole.reshape(-1, 1) if whole.ndim < 2 else whole
