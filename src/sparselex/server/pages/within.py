"""The features before and after one: by number, or in the list that the reader came from."""

from typing import Any, get_args
from urllib.parse import parse_qsl

import numpy as np

from sparselex.base.config import Config
from sparselex.server.finding.find import find
from sparselex.server.finding.hits import Mode
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Impossible
from sparselex.server.pages.features import Column, Order, Sort, in_order

_FIELDS = {"mode": get_args(Mode), "sort": (*get_args(Column), *get_args(get_args(Sort)[1])), "order": get_args(Order)}


class Within(Config):
    """Where a feature stands among others."""

    previous: int
    """The one before, around the end; itself where there is no other."""

    next: int
    """The one after, around the end; itself where there is no other."""

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
    words, keys = given.get("q", "")[:200], {one.key for one in opened.explained.foremost(opened.index(run).index)}
    score = given["score"] if given.get("score") in keys else ""
    try:
        found = find(opened, run, words, options.get("mode", "text"), score)
    except Impossible:
        return by_number
    latents = in_order(found, options.get("sort", ""), options.get("order", "desc"))[1]
    places = np.flatnonzero(latents == latent)
    if not len(places):
        return by_number
    place, n = int(places[0]), len(latents)
    before, after = int(latents[(place - 1) % n]), int(latents[(place + 1) % n])
    return Within(previous=before, next=after, place=place + 1, n=n, words=words)
