"""What of a dictionary's directions reaches the residual stream, and how."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.lm.subject import Place, Readable


class Written(NamedTuple):
    """Directions with a direct path to the logits."""

    rows: Tensor
    """`[d_sae, d_hook]` directions."""

    write: Tensor | None
    """`[d_hook, d_model]`, how they come into the stream; None where they are in its own coordinates."""

    unembed: Tensor
    """`[d_model, n_vocab]`, from the stream to the logits."""

    which: str = ""
    """Of several sites, in words, which of them it is; empty for a single one."""


def written_to_stream(model: Readable, W_dec: Tensor, sites: Sites) -> Written:
    """What of the directions `[d_sae, d_out]` of the sites written reaches the residual stream in one linear step.

    What a cross-layer transcoder writes to several sites is added to one stream, so there it is their sum; the sites of
    a crosscoder are states of the same stream at several moments, and it is the last of them, the second model counting
    as later. Raises `UserError` where no site writes to the stream.
    """
    places = model.places(sites.written)
    if len(places) == 1:
        return _at(places[0], W_dec)
    if sites.target and (rows := _summed(places, W_dec)) is not None:
        readout = places[-1].model.readout(places[-1].hook)
        return Written(rows, None, readout.unembed, f"of what is written to the {len(places)} sites together: ")
    for place in reversed(_in_order(model, places)):
        with suppress(UserError):
            which = f"of the part at {place.model.name}:{place.hook}, the last site that writes to the stream: "
            return _at(place, W_dec[:, place.columns])._replace(which=which)
    raise UserError(
        "None of the sites writes to the residual stream in one linear step.",
        "a residual or output site among them",
        "leave logit effects out for these hooks.",
    )


def _at(place: Place, rows: Tensor) -> Written:
    readout = place.model.readout(place.hook)
    return Written(rows * readout.writes.scale, readout.writes.matrix, readout.unembed)


def _summed(places: Sequence[Place], W_dec: Tensor) -> Tensor | None:
    """What all sites add to the stream together; None where one of them does not add to it."""
    try:
        writes = [place.model.writes(place.hook) for place in places]
    except UserError:
        return None
    if not all(one.adds for one in writes):
        return None
    return torch.stack([w.to_stream(W_dec[:, p.columns]) for w, p in zip(writes, places, strict=True)]).sum(0)


def _in_order(model: Readable, places: Sequence[Place]) -> list[Place]:
    """By model, and within one in the order of its forward pass."""
    order = {point.name: number for number, point in enumerate(model.hooks())}
    models = [place.model for place in places]
    return sorted(places, key=lambda place: (models.index(place.model), order.get(place.hook, -1)))
