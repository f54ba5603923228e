"""The features before and after one: by number, or in the list that the reader came from."""

from typing import Any, get_args
from urllib.parse import parse_qsl

import numpy as np

from sparselex.base.config import Config
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.features import Order, Sort, search

_FIELDS = {"sort": get_args(Sort), "order": get_args(Order)}


class Within(Config):
    """Where a feature stands among others."""

    previous: int
    """The one before, around the end."""

    next: int
    """The one after, around the end."""

    place: int
    """Its place in the list that the reader came from, from 1; 0 where they came from none that has it."""

    n: int
    """Features of that list; of all where there is none."""

    words: str
    """What was searched for in it."""


def within(opened: OpenWorkspace, run: str, latent: int, query: str) -> Within:
    """Where `latent` stands in the list whose address ended in `?query`. What is no word of the list is passed over: an
    address may be of another version."""
    d_sae = opened.index(run).index.d_sae
    by_number = Within(previous=(latent - 1) % d_sae, next=(latent + 1) % d_sae, place=0, n=d_sae, words="")
    if not query:
        return by_number
    given: dict[str, Any] = dict(parse_qsl(query, max_num_fields=None)[:20])
    options = {name: given[name] for name, known in _FIELDS.items() if given.get(name) in known}
    words = given.get("q", "")[:200]
    latents = search(opened, run, words, options.get("sort", "score"), options.get("order", "desc")).latents
    places = np.flatnonzero(latents == latent)
    if not len(places):
        return by_number
    place, n = int(places[0]), len(latents)
    before, after = int(latents[(place - 1) % n]), int(latents[(place + 1) % n])
    return Within(previous=before, next=after, place=place + 1, n=n, words=words)
