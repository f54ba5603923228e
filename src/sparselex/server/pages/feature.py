"""`/runs/<run>/features/<latent>`: everything about one feature."""

from typing import Annotated

from pydantic import BeforeValidator

from sparselex.base.config import Config
from sparselex.base.formats import count
from sparselex.base.runs import RunCard
from sparselex.base.sites import Sites
from sparselex.features.index import FeatureIndex
from sparselex.features.records import FeatureRecord, Histogram, SplitStatistics, TokenEffect
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.effects import EffectsView, effects_view
from sparselex.server.pages.features import flags_of
from sparselex.server.pages.parts import ExplanationView, explanations
from sparselex.text.splits import Split


class IntervalView(Config):
    """Examples from one range of activation."""

    low: float
    """Lower end, excluded."""

    high: float
    """Upper end, included."""

    n: int
    """Training tokens in the range."""

    examples: list[ExampleView]
    """Drawn at random from them, at most one a row."""


class TokenView(Config):
    """A token and a number."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    value: float
    """What a unit of activation adds to the logit by the direct path, before the final norm's scale."""


class NeighbourView(Config):
    """Another latent with a similar direction."""

    latent: int
    """Its number."""

    cosine: float
    """Cosine of the two decoder rows."""

    title: str
    """Its explanation in short; empty if there is none."""


class FeaturePage(PageRecord):
    """`/runs/<run>/features/<latent>`: everything about one feature."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    sites: Sites
    """Where the model was read for the index."""

    latent: int
    """Number of the latent."""

    previous: int
    """The latent before, around the end."""

    next: int
    """The latent after, around the end."""

    flags: list[str]
    """dead, dense."""

    dead: bool
    """Never active on the counted tokens."""

    density: float
    """Share of counted tokens on which it is active."""

    max: float
    """Largest activation by size over all splits; full heat on this page."""

    n_tokens: int
    """Tokens counted."""

    explanations: list[ExplanationView]
    """What is said of it, by explainer; empty if not explained yet."""

    statistics: dict[Split, SplitStatistics]
    """By split."""

    histogram: Histogram | None
    """Sizes of the activations over all splits; None for a dead latent."""

    top: list[ExampleView]
    """Largest training activations."""

    intervals: list[IntervalView]
    """Random training examples by range."""

    logits_top: list[TokenView]
    """Tokens promoted most."""

    logits_bottom: list[TokenView]
    """Tokens suppressed most."""

    logits_note: str
    """What the logit effects are, or why there are none."""

    effects: EffectsView | None
    """What the model does without it; None where that was not measured."""

    neighbours: list[NeighbourView]
    """Nearest decoder directions."""

    provenance: dict[str, str]
    """Ids of everything it was made from."""


def _number(written: object) -> object:
    """A latent's number as addresses write it: one feature has one address."""
    text = str(written)
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and str(int(text)) == text):
        raise NoSuchPage(f"{text[:40]!r} is no latent.", "a number", "choose one from the list of features.")
    return written


Latent = Annotated[int, BeforeValidator(_number)]


def feature(opened: OpenWorkspace, run: str, latent: Latent) -> FeaturePage:
    """Everything about one feature. Raises `NoSuchPage` for a number that is no latent of the run."""
    found = opened.index(run)
    index = found.index
    if not 0 <= latent < index.d_sae:
        expected = f"a number from 0 to {index.d_sae - 1}"
        raise NoSuchPage(f"There is no latent {latent} in run {run!r}.", expected, "choose one of these.")
    record, windows = index.record(latent), Windows(index, latent, found.texts)
    return FeaturePage(
        title=f"{run} / {latent}",
        typed=opened.workspace.typed,
        run=opened.card(run),
        sites=index.sites,
        latent=latent,
        previous=(latent - 1) % index.d_sae,
        next=(latent + 1) % index.d_sae,
        flags=flags_of(index, latent),
        dead=record.dead,
        density=record.density,
        max=float(index.table["max"][latent]),
        n_tokens=index.n_tokens_total,
        explanations=explanations(opened.explained, index, windows, latent),
        statistics=record.statistics,
        histogram=record.histogram,
        top=windows.views(record.top),
        intervals=_intervals(record, windows),
        logits_top=_tokens(found.texts, record.logits_top),
        logits_bottom=_tokens(found.texts, record.logits_bottom),
        logits_note=index.manifest.notes["logits"],
        effects=effects_view(opened.effects(run), latent, windows, found.texts),
        neighbours=_neighbours(opened, index, record),
        provenance=_provenance(found),
    )


PAGE = Page(path="/runs/{run}/features/{latent}", build=feature, template=TEMPLATES / "feature.html")


def _intervals(record: FeatureRecord, windows: Windows) -> list[IntervalView]:
    return [IntervalView(low=i.low, high=i.high, n=i.n, examples=windows.views(i.examples)) for i in record.intervals]


def _neighbours(opened: OpenWorkspace, index: FeatureIndex, record: FeatureRecord) -> list[NeighbourView]:
    entries = opened.explained.entries(index)
    return [
        NeighbourView(latent=n.latent, cosine=n.cosine, title=title_of(entries, n.latent)) for n in record.neighbours
    ]


def _tokens(texts: TokenTexts, effects: list[TokenEffect]) -> list[TokenView]:
    return [TokenView(token=e.token, text=texts.label(e.token), value=e.value) for e in effects]


def _provenance(found: OpenIndex) -> dict[str, str]:
    """Ids of all it came from; the mask in words."""
    index = found.index
    manifest = index.manifest
    masks = ", ".join(f"{count(n)} {name.replace('_', ' ')}" for name, n in manifest.notes["masks"].items())
    counted = ", ".join(f"{split} {count(n)}" for split, n in index.n_tokens.items())
    ours = {"sparselex": manifest.code_version, **index.sites.names()}
    return {"index": index.id, **manifest.inputs, **ours, "tokens counted": counted, "tokens left out": masks or "none"}
