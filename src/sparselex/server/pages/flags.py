"""What is unusual about a feature, in a word each, with the bar behind the word."""

from sparselex.base.config import Config
from sparselex.base.formats import count, fixed
from sparselex.features.records import FeatureRecord
from sparselex.server.opened import DENSE_ABOVE, DUPLICATE_FROM, RARE_BELOW


class FlagView(Config):
    """A word that says what is unusual."""

    name: str
    """dead, rare, dense, single-token, duplicate of another."""

    why: str
    """When a feature is called so."""

    latent: int | None
    """The other latent that is meant; None where none is."""


def flags(record: FeatureRecord, n_tokens: int, *, single_token: bool) -> list[FlagView]:
    """The flags of one feature."""
    found = list[FlagView]()
    if record.dead:
        found.append(FlagView(name="dead", why=f"never active on {count(n_tokens)} tokens", latent=None))
    elif record.density < RARE_BELOW:
        found.append(FlagView(name="rare", why="active on fewer than one token in 100,000", latent=None))
    elif record.density > DENSE_ABOVE:
        found.append(FlagView(name="dense", why="active on more than one token in ten", latent=None))
    if single_token:
        found.append(
            FlagView(name="single-token", why="nine in ten of the tokens that it is active on are one", latent=None)
        )
    for near in record.neighbours[:1]:
        if near.cosine >= DUPLICATE_FROM:
            why = f"cosine of the two directions {fixed(near.cosine)}; called so from {DUPLICATE_FROM:g}"
            found.append(FlagView(name=f"duplicate of {near.latent}", why=why, latent=near.latent))
    return found
