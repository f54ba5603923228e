"""`/runs/<run>/neurons`: latents held against neurons."""

from sparselex.atlas.neurons.records import KIND, LatentNeurons, NeuronRows, Neurons
from sparselex.base.artifacts import read_manifest
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.features.related import NeuronArrays
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord


class NeuronsView(Config):
    """One latent held against neurons, as pages show it."""

    latent: LatentNeurons
    """Its coefficients."""

    title: str
    """What is said of it; empty where nothing is."""

    best: int | None
    """The neuron that goes with its activations most; None where that is not known."""

    correlation: float | None
    """By how much."""


class CoefficientsView(Config):
    """The coefficients of one latent's direction, as its page shows them."""

    latent: LatentNeurons
    """The largest of them, and how many are large."""

    width: int
    """How many there are."""

    large_from: float
    """Size from which one is large."""


class NeuronsPage(PageRecord):
    """`/runs/<run>/neurons`: latents held against neurons."""

    run: RunCard
    """What the run says of itself."""

    found: Neurons
    """What was found, without the lists."""

    lists: dict[str, list[NeuronsView]]
    """Latents at either end, by what they are."""


def neuron_rows(opened: OpenWorkspace, run: str) -> NeuronRows | None:
    """The latents of the index that a run has now, held against neurons; None where that was not done."""
    found = opened.artifact(run, KIND, NeuronRows.read)
    if found is None or not opened.has(run, "index"):
        return None
    made_of = read_manifest(opened.workspace.run(run) / KIND).inputs.get("index")
    return found if made_of == opened.index(run).index.id else None


def neurons_page(opened: OpenWorkspace, run: str) -> NeuronsPage:
    """A run's dictionary held against neurons. Raises `NotMadeYet` where that was not done, or with another index than
    the run has now."""
    card, rows = opened.card(run), neuron_rows(opened, run)
    if rows is None:
        raise NotMadeYet(
            f"The latents of run {run!r} were not held against neurons, as they are indexed now.",
            "a run for which that was done",
            f"run `sparselex analyse neurons {opened.workspace.typed} --run {run}`.",
        )
    index = opened.index(run).index
    found = rows.found
    shown = {"most like one neuron": found.most, "spread over most neurons": found.least}
    entries = opened.explained.entries(index).of([one.latent for those in shown.values() for one in those])
    view = lambda one: _view(one, title_of(entries, one.latent), index.relations.neurons)
    return NeuronsPage(
        title=f"{run}: held against neurons",
        run=card,
        found=found.model_copy(update={"most": [], "least": []}),
        lists={words: [view(one) for one in those] for words, those in shown.items()},
    )


PAGE = Page(path="/runs/{run}/neurons", build=neurons_page, template=TEMPLATES / "neurons.html")


def _view(one: LatentNeurons, title: str, known: NeuronArrays | None) -> NeuronsView:
    best = None if known is None else int(known.place[one.latent, 0])
    there = known is not None and best is not None and best >= 0
    return NeuronsView(
        latent=one,
        title=title,
        best=best if there else None,
        correlation=float(known.value[one.latent, 0]) if there and known else None,
    )


def coefficients_view(opened: OpenWorkspace, run: str, latent: int) -> CoefficientsView | None:
    """The coefficients of a latent's direction; None where latents were not held against neurons."""
    rows = neuron_rows(opened, run)
    if rows is None:
        return None
    return CoefficientsView(latent=rows.of(latent), width=rows.found.width, large_from=rows.found.large_from)
