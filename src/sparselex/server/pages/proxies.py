"""`/runs/<run>/proxies`: concepts and the features that carry them; `/runs/<run>/proxies/<name>`: one of them."""

from collections.abc import Sequence

from sparselex.atlas.proxies.records import Carrier, ConceptFound, Place, ProxiesFound, SampledFeature
from sparselex.atlas.proxies.store import concept_in, looked_for, proxies_in
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.features.records import Example
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord
from sparselex.server.proxy_charts import Stacks, by_mass, by_tokens

N_STUDIES = 5
"""Concepts that are shown as case studies."""

N_EXAMPLES = 4
"""Examples of each kind in a case study of several."""


class ConceptView(Config):
    """A concept with the text of its examples."""

    found: ConceptFound
    """What was found."""

    titles: dict[int, str]
    """What is said of its features, by latent."""

    strongest: list[ExampleView]
    """Where its best feature is most active, in test documents."""

    outside: list[ExampleView]
    """The strongest of these that are outside of the concept."""

    missed: list[ExampleView]
    """Tokens of the concept on which it is silent, drawn at random."""

    @property
    def by_tokens(self) -> Stacks:
        """Test tokens by activation and by what the concept says of them."""
        return by_tokens(self.found)

    @property
    def by_mass(self) -> Stacks:
        """Activation instead."""
        return by_mass(self.found)


class SampledView(Config):
    """A feature drawn at random, with the text of its examples."""

    found: SampledFeature
    """What was found."""

    title: str
    """What is said of it."""

    strongest: list[ExampleView]
    """Where it is most active, in test documents."""


class RowView(Config):
    """A concept in the table of all."""

    name: str
    """What it is called."""

    words: str
    """Which tokens are inside."""

    share: float
    """Share of test tokens that are inside."""

    n_test: int
    """How many."""

    best: Carrier
    """Its best feature."""

    ci_low: float | None
    """Ends of the interval of its specificity at high activation."""

    ci_high: float | None
    """The same."""

    title: str
    """What is said of that feature."""

    siblings_recall: float | None
    """Share of the tokens inside on which it or a sibling is active."""

    neuron: Carrier | None
    """The best neuron."""

    twin: Carrier | None
    """The best feature of the first twin."""

    by_chance: float | None
    """Specificity at high activation for the concept moved along the text."""


class ProxiesPage(PageRecord):
    """`/runs/<run>/proxies`: concepts and the features that carry them."""

    run: RunCard
    """What the run says of itself."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    found: ProxiesFound | None
    """What was found of the shipped concepts, without these; None where only others were looked for."""

    rows: list[RowView]
    """The concepts, the best first."""

    own: list[RowView]
    """Concepts that a person has looked for."""

    studies: list[ConceptView]
    """The best of the shipped ones."""

    sampled: list[SampledView]
    """As many features drawn at random."""


class ConceptPage(PageRecord):
    """`/runs/<run>/proxies/<name>`: a concept and the features that carry it."""

    run: RunCard
    """What the run says of itself."""

    concept: ConceptView
    """The concept."""


def proxies_page(opened: OpenWorkspace, run: str) -> ProxiesPage:
    """What was found in a run. Raises `NotMadeYet` where nothing was looked for in the index that the run has now."""
    card, index = opened.card(run), opened.index(run)
    folder, made = opened.workspace.run(run), index.index.id
    found, names = proxies_in(folder, made), looked_for(folder, made)
    if found is None and not names:
        raise _not_made(opened, run)
    own = [one for name in names if (one := concept_in(folder, made, name))]
    concepts = found.concepts if found else []
    bests = [one.carriers[0].latent for one in (*concepts, *own)]
    titles = _titles(opened, index, [*bests, *([one.carrier.latent for one in found.sampled] if found else [])])
    return ProxiesPage(
        title=f"{run}: concepts and the features that carry them",
        run=card,
        typed=opened.workspace.typed,
        found=found.model_copy(update={"concepts": []}) if found else None,
        rows=[_row(one, titles) for one in concepts],
        own=[_row(one, titles) for one in own],
        studies=[_view(opened, index, one, N_EXAMPLES) for one in concepts[:N_STUDIES]],
        sampled=[_sampled(index, one, titles) for one in (found.sampled if found else [])],
    )


def concept_page(opened: OpenWorkspace, run: str, name: str) -> ConceptPage:
    """One concept. Raises `NoSuchPage` where none of that name was looked for in the index that the run has now."""
    card, index = opened.card(run), opened.index(run)
    found = concept_in(opened.workspace.run(run), index.index.id, name)
    if found is None:
        if proxies_in(opened.workspace.run(run), index.index.id) is None:
            raise _not_made(opened, run)
        raise NoSuchPage(
            f"No concept {name!r} was looked for in run {run!r} as it is indexed now.",
            "one of those in the list",
            f"go to the list of concepts of the run, or give `sparselex find {opened.workspace.typed} --run {run}`.",
        )
    title = f"{run}: {found.name}, and the features that carry it"
    return ConceptPage(title=title, run=card, concept=_view(opened, index, found, len(found.strongest)))


PAGE = Page(path="/runs/{run}/proxies", build=proxies_page, template=TEMPLATES / "proxies.html")
ONE = Page(path="/runs/{run}/proxies/{name}", build=concept_page, template=TEMPLATES / "proxy.html")


def _not_made(opened: OpenWorkspace, run: str) -> NotMadeYet:
    return NotMadeYet(
        f"Concepts were not looked for in run {run!r} as it is indexed now.",
        "a run in which they were looked for",
        f"run `sparselex analyse proxies {opened.workspace.typed} --run {run}`.",
    )


def _titles(opened: OpenWorkspace, index: OpenIndex, latents: Sequence[int]) -> dict[int, str]:
    entries = opened.explained.entries(index.index).of(sorted(set(latents)))
    return {latent: title for latent in latents if (title := title_of(entries, latent))}


def _view(opened: OpenWorkspace, index: OpenIndex, found: ConceptFound, n: int) -> ConceptView:
    latents = [*(one.latent for one in found.carriers), *(one.latent for one in found.siblings)]
    windows = Windows(index.index, found.carriers[0].latent, index.texts, "test")
    return ConceptView(
        found=found,
        titles=_titles(opened, index, latents),
        strongest=_examples(windows, found.strongest[:n]),
        outside=_examples(windows, found.outside[:n]),
        missed=_examples(windows, found.missed[:n]),
    )


def _sampled(index: OpenIndex, found: SampledFeature, titles: dict[int, str]) -> SampledView:
    windows = Windows(index.index, found.carrier.latent, index.texts, "test")
    title = titles.get(found.carrier.latent, "")
    return SampledView(found=found, title=title, strongest=_examples(windows, found.strongest[:N_EXAMPLES]))


def _examples(windows: Windows, places: Sequence[Place]) -> list[ExampleView]:
    return windows.views([Example(position=one.position, value=one.value) for one in places])


def _row(one: ConceptFound, titles: dict[int, str]) -> RowView:
    best, figure = one.carriers[0], one.figure("specificity_high")
    return RowView(
        name=one.name,
        words=one.words,
        share=one.share,
        n_test=one.n_test,
        best=best,
        ci_low=figure.ci_low,
        ci_high=figure.ci_high,
        title=titles.get(best.latent, ""),
        siblings_recall=one.siblings[-1].recall if one.siblings else best.recall,
        neuron=one.neuron,
        twin=next(iter(one.twins.values()), None),
        by_chance=figure.null,
    )
