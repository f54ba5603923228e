"""How large the numbers of configurations may be: what no machine holds or ends is refused before anything is made."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

ItemT = TypeVar("ItemT")

SEEDS = 2**32
"""How many seeds there are."""

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
"""A seed that every library takes that draws numbers."""

Tokens = Annotated[int, Field(gt=0, le=10**15)]
"""Tokens of text: more than there are."""

Count = Annotated[int, Field(gt=0, le=10**9)]
"""Rows, steps or batches, of which there may be fewer."""

Whole = Annotated[int, Field(ge=0, le=10**9)]
"""A number of things, or none."""

RowTokens = Annotated[int, Field(ge=2, le=10**9)]
"""Tokens in a row: one to read and one to predict at least."""

BatchRows = Annotated[int, Field(gt=0, le=4096)]
"""Rows in a forward pass."""

Listed = Annotated[int, Field(gt=0, le=1000)]
"""Things that are kept of each latent."""

Drawn = Annotated[int, Field(gt=0, le=100)]
"""Ranges, and things that are kept of each latent in each range."""

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A weight or a rate."""

Passes = Annotated[float, Field(gt=0, le=10**4)]
"""Passes over a text, or the part of one."""

LatentNumber = Annotated[int, Field(ge=0, lt=2**32)]
"""The number of a latent; which there are, a dictionary says."""

LayerNumber = Annotated[int, Field(ge=0, lt=10**4)]
"""The number of a layer."""

LastShare = Annotated[float, Field(gt=0, lt=1)]
"""A part of a whole behind another part of it: neither all nor nothing."""

Expansion = Annotated[float, Field(gt=0, le=2**20)]
"""Latents for each dimension that is read."""

MOST_WEIGHTS = 2**36
"""Numbers in one dictionary: 256 GiB."""


def _once(given: tuple[ItemT, ...]) -> tuple[ItemT, ...]:
    alike = lambda one: f"{one:g}" if isinstance(one, float) else one
    return tuple({alike(one): one for one in given}.values())


Once = AfterValidator(_once)
"""Each value of a list once, in the order given: one that is given again, or a number that is written like another in
the names of figures, would be measured twice and shown as two. It stands before bounds of how many there are."""
