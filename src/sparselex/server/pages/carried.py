"""Which concepts a feature carries, as its page shows it."""

from pathlib import Path

from sparselex.atlas.proxies.records import FILE as PROXIES_FILE
from sparselex.atlas.proxies.records import FOUND, KIND, Carrier, ConceptFound, ProxiesFound, Sibling
from sparselex.atlas.proxies.store import concept_in, looked_for
from sparselex.base.artifacts import read_manifest, record_of
from sparselex.base.config import Config
from sparselex.server.opened import OpenWorkspace


class CarriedView(Config):
    """A concept, and how well a feature tells its tokens."""

    name: str
    """What the concept is called."""

    words: str
    """Which tokens are inside."""

    share: float
    """Share of test tokens that are inside."""

    place: int | None
    """Its place among the features that correlate most with the concept, from 1; None for a sibling that is none of
    these."""

    carrier: Carrier | None
    """How well it tells them; None for such a sibling."""

    sibling: Sibling | None
    """What it adds where the best feature is silent; None where it is none that was taken."""


def carried(opened: OpenWorkspace, run: str, latent: int) -> list[CarriedView]:
    """The concepts of a run's index that name a latent, those that it carries best first."""
    index, folder = opened.index(run).index.id, opened.workspace.run(run)
    found = opened.artifact(run, KIND, _read)
    concepts = list(found.concepts) if found and read_manifest(folder / KIND).inputs.get("index") == index else []
    if (folder / FOUND).is_dir():
        concepts += [one for name in looked_for(folder, index) if (one := concept_in(folder, index, name))]
    views = [view for one in concepts if (view := _view(one, latent))]
    return sorted(views, key=lambda view: (view.place or 99, -(view.carrier.sensitivity or 0) if view.carrier else 0))


def _view(one: ConceptFound, latent: int) -> CarriedView | None:
    places = {carrier.latent: place for place, carrier in enumerate(one.carriers)}
    place = places.get(latent)
    sibling = next((each for each in one.siblings if each.latent == latent), None)
    if place is None and sibling is None:
        return None
    return CarriedView(
        name=one.name,
        words=one.words,
        share=one.share,
        place=None if place is None else place + 1,
        carrier=None if place is None else one.carriers[place],
        sibling=sibling,
    )


def _read(path: Path) -> ProxiesFound:
    return record_of(ProxiesFound, path, PROXIES_FILE)
