"""`/runs/<run>/pinned`: what the model writes while single latents are held, and whether they are active on it."""

from sparselex.base.artifacts import read_manifest
from sparselex.base.runs import RunCard
from sparselex.evaluate.pinned.records import FILE, KIND, PinnedLatents
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord


class PinnedPage(PageRecord):
    """`/runs/<run>/pinned`: what the model writes while single latents are held."""

    run: RunCard
    """What the run says of itself."""

    found: PinnedLatents
    """What was measured."""

    titles: dict[int, str]
    """What the first explanation says of each latent, in short."""


def pinned_page(opened: OpenWorkspace, run: str) -> PinnedPage:
    """What was measured of a run's dictionary. Raises `NotMadeYet` where nothing was, or in another index than the run
    has now."""
    card = opened.card(run)
    found = opened.record(PinnedLatents, run, KIND, FILE)
    made_of = read_manifest(opened.workspace.run(run) / KIND).inputs.get("index") if found else None
    if found is None or made_of != opened.index(run).index.id:
        raise NotMadeYet(
            f"Pinned sampling was not measured in run {run!r} as it is indexed now.",
            "a run in which it was",
            f"run `sparselex analyse pinned {opened.workspace.typed} --run {run}`.",
        )
    entries = opened.explained.entries(opened.index(run).index).of([one.latent for one in found.latents])
    titles = {one.latent: title_of(entries, one.latent) for one in found.latents}
    return PinnedPage(title=f"{run}: pinned sampling", run=card, found=found, titles=titles)


PAGE = Page(path="/runs/{run}/pinned", build=pinned_page, template=TEMPLATES / "pinned.html")
