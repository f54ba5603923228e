"""`/runs/<run>/features/<latent>`: everything about one feature."""

from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, StringConstraints

from sparselex.base.bounds import SEEDS, Seed
from sparselex.base.config import Config
from sparselex.base.formats import count
from sparselex.base.runs import RunCard
from sparselex.base.sites import Sites
from sparselex.features.index import FeatureIndex
from sparselex.features.records import Example, FeatureRecord, Histogram, SplitStatistics, TokenEffect
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.effects import EffectsView, effects_view
from sparselex.server.pages.features import flags_of
from sparselex.server.pages.parts import ExplanationView, explanations
from sparselex.text.splits import Split

N_SHOWN = 12
"""Examples of a kind that the reader chooses."""

_SHORT = StringConstraints(max_length=100)


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
    """dead, dense, single-token (it is most active on one token, again and again)."""

    dead: bool
    """Never active on the counted tokens."""

    density: float
    """Share of counted tokens on which it is active."""

    max: float
    """Largest activation by size over all splits; full heat on this page."""

    n_tokens: int
    """Tokens counted."""

    sampled: bool
    """Whether the index keeps a sample of activations: examples, tokens and searches among them are from it."""

    explanations: list[ExplanationView]
    """What is said of it, by explainer; empty if not explained yet."""

    statistics: dict[Split, SplitStatistics]
    """By split."""

    histogram: Histogram | None
    """Sizes of the activations over all splits; None for a dead latent."""

    top: list[ExampleView]
    """Largest training activations."""

    seed: int
    """What the random examples were drawn by."""

    next_seed: int
    """What another sample is drawn by, around the end."""

    random: list[ExampleView]
    """Training examples drawn at random from all places at which it is active, at most one a row."""

    token: str
    """Text that a token must contain, as the reader asked; empty if nothing was asked."""

    containing: list[ExampleView]
    """The largest training activations on such tokens, at most one a row."""

    n_containing: int
    """How often it is active on such tokens in the training split."""

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


def numbered(what: str, most: int) -> BeforeValidator:
    """A number of at most so many digits as addresses write it, so that one thing has one address. Raises `NoSuchPage`
    for anything else; `what` says of what it is the number."""

    def number(written: object) -> object:
        text = str(written)
        if not (text.isascii() and text.isdecimal() and len(text) <= most and str(int(text)) == text):
            raise NoSuchPage(f"{text[:40]!r} is no {what}.", "a number", "choose one from the list of features.")
        return written

    return BeforeValidator(number)


Latent = Annotated[int, numbered("latent", 9)]


def checked_latent(found: OpenIndex, run: str, latent: int) -> None:
    """Raise `NoSuchPage` for a number that is no latent of the run."""
    if not 0 <= latent < found.index.d_sae:
        expected = f"a number from 0 to {found.index.d_sae - 1}"
        raise NoSuchPage(f"There is no latent {latent} in run {run!r}.", expected, "choose one of these.")


def feature(
    opened: OpenWorkspace, run: str, latent: Latent, seed: Seed = 0, token: Annotated[str, _SHORT] = ""
) -> FeaturePage:
    """Everything about one feature. Raises `NoSuchPage` for a number that is no latent of the run."""
    found = opened.index(run)
    index = found.index
    checked_latent(found, run, latent)
    containing, n_containing = _containing(found, latent, token)
    record, windows = index.record(latent), Windows(index, latent, found.texts)
    return FeaturePage(
        title=f"{run} / {latent}",
        typed=opened.workspace.typed,
        run=opened.card(run),
        sites=index.sites,
        latent=latent,
        previous=(latent - 1) % index.d_sae,
        next=(latent + 1) % index.d_sae,
        flags=flags_of(found, latent),
        dead=record.dead,
        density=record.density,
        max=float(index.table["max"][latent]),
        n_tokens=index.n_tokens_total,
        sampled=index.sampled,
        explanations=explanations(opened.explained, index, windows, latent),
        statistics=record.statistics,
        histogram=record.histogram,
        top=windows.views(record.top),
        seed=seed,
        next_seed=(seed + 1) % SEEDS,
        random=windows.views(index.examples(latent, "train", N_SHOWN, seed)),
        token=token,
        containing=windows.views(containing),
        n_containing=n_containing,
        intervals=_intervals(record, windows),
        logits_top=_tokens(found.texts, record.logits_top),
        logits_bottom=_tokens(found.texts, record.logits_bottom),
        logits_note=index.manifest.notes["logits"],
        effects=effects_view(opened.effects(run), latent, windows, found.texts),
        neighbours=_neighbours(opened, index, record),
        provenance=_provenance(found),
    )


PAGE = Page(path="/runs/{run}/features/{latent}", build=feature, template=TEMPLATES / "feature.html")


def _containing(found: OpenIndex, latent: int, words: str) -> tuple[list[Example], int]:
    """The largest training activations of a latent on tokens whose text contains these words, upper and lower case
    alike, at most one a row; and on how many it is active."""
    if not words:
        return [], 0
    positions, values = found.index.split_column(latent, "train")
    tokens = np.asarray(found.index.corpus.tokens).reshape(-1)[positions]
    there = np.isin(tokens, found.tokens_with(words))
    positions, values = positions[there], values[there]
    order = np.argsort(-np.abs(values), kind="stable")
    rows = positions[order] // found.index.corpus.n_ctx
    first = np.sort(np.unique(rows, return_index=True)[1])[:N_SHOWN]
    chosen = order[first]
    examples = [
        Example(position=int(p), value=float(v)) for p, v in zip(positions[chosen], values[chosen], strict=True)
    ]
    return examples, len(positions)


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
