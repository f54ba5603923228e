"""`/runs/<run>/features/<latent>`: everything about one feature."""

from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator

from sparselex.base.bounds import SEEDS
from sparselex.base.config import Config
from sparselex.base.formats import count
from sparselex.base.runs import RunCard
from sparselex.base.sites import Sites
from sparselex.explain.records import Entry, Score
from sparselex.features.elsewhere import Stated
from sparselex.features.records import SplitStatistics
from sparselex.features.windows import Windows
from sparselex.server.live_ask_records import NOTHING_ASKED, AskState
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.activity import ActivityView, activity
from sparselex.server.pages.ask_view import AskView, ask_view
from sparselex.server.pages.asked import Asked
from sparselex.server.pages.automata_of import AutomataOfView, automata_of_view
from sparselex.server.pages.carried import CarriedView, carried
from sparselex.server.pages.chosen import ExampleSet, RangeView, example_sets, ranges
from sparselex.server.pages.directions import activity_of, component_address
from sparselex.server.pages.effects import EffectsView, effects_view
from sparselex.server.pages.flags import FlagView, flags
from sparselex.server.pages.in_others import MatchView, in_others
from sparselex.server.pages.kin import KinOf, kin_of
from sparselex.server.pages.neurons import CoefficientsView, coefficients_view
from sparselex.server.pages.of_model import OfModelView, of_model_view
from sparselex.server.pages.parts import ExplanationView, explanations
from sparselex.server.pages.relations import RelationsView, TallyView, TokenView, beside, relations, tally, tokens_of
from sparselex.server.pages.rule_tests import RuleTestsView, rule_tests_view
from sparselex.server.pages.widths import WidthsView, widths_view
from sparselex.server.pages.within import Within, within
from sparselex.text.splits import Split


class ElsewhereView(Config):
    """What the makers of a feature say of it, where it was made elsewhere."""

    notice: str
    """What a reader has to know of such a run."""

    stated: Stated | None
    """What they say; None where they say nothing of this feature."""


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

    asked: Asked
    """What the reader asked to see."""

    next_seed: int
    """What another sample is drawn by, around the end."""

    within: Within
    """The features before and after this one, in the list that the reader came from."""

    flags: list[FlagView]
    """What is unusual about it."""

    dead: bool
    """Never active on the counted tokens."""

    density: float
    """Share of counted tokens on which it is active."""

    chosen_activity: str
    """Of a direction that a person gave, where it is active; empty for a latent that was trained."""

    component: str
    """Address of its page as a component of weights; empty for anything else."""

    max: float
    """Largest activation by size over all splits; full heat on this page."""

    n_tokens: int
    """Tokens counted."""

    headline: Score | None
    """The score of the first explanation by which lists are ordered; None where it is unscored."""

    sampled: bool
    """Whether the index keeps a sample of activations: examples, tokens and searches among them are from it."""

    explanations: list[ExplanationView]
    """What is said of it, by explainer; empty if not explained yet."""

    ask: AskView
    """What a language model was asked about it, and what it can be asked."""

    statistics: dict[Split, SplitStatistics]
    """By split."""

    activity: ActivityView | None
    """Sizes of the activations over all splits; None for a dead latent."""

    ranges: list[RangeView]
    """Ranges of activation that examples can be had of."""

    examples: list[ExampleSet]
    """The examples that were asked for."""

    logits_top: list[TokenView]
    """Tokens promoted most."""

    logits_bottom: list[TokenView]
    """Tokens suppressed most."""

    logits_note: str
    """What the logit effects are, or why there are none."""

    tally: TallyView
    """On what tokens it is active, and what follows them."""

    effects: EffectsView | None
    """What the model does without it; None where that was not measured."""

    of_model: OfModelView | None
    """How far it is one of the model; None where that was not measured."""

    coefficients: CoefficientsView | None
    """Its direction held against neurons; None where that was not done."""
    carried: list[CarriedView]
    """Concepts that name it among the features that carry them or fill their gaps; empty where none was looked for."""
    automata: AutomataOfView | None
    """What it leads to, and the automata that it is a state of; None where they were not looked for."""
    rule_tests: RuleTestsView | None
    """What its rule was held against; None where it was not."""
    in_others: list[MatchView]
    """Its nearest features in runs of other models or seeds; empty where that was not measured."""

    widths: WidthsView | None
    """What it is in narrower and wider dictionaries; None where it was not followed through these."""

    kin: KinOf | None
    """What it is a part of and what is a part of it; None where it has no such relatives, or none were sought."""

    relations: RelationsView
    """Latents and neurons that are near to it, in four senses."""

    others: list[str]
    """Other runs of the workspace that have an index, in which the same feature can be looked for."""

    elsewhere: ElsewhereView | None
    """What its makers say of it; None where it was made here."""

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


_AS_IT_IS = Asked()


def feature(
    opened: OpenWorkspace,
    run: str,
    latent: Latent,
    asked: Annotated[Asked, Query()] = _AS_IT_IS,
    state: AskState = NOTHING_ASKED,
) -> FeaturePage:
    """Everything about one feature. Raises `NoSuchPage` for a number that is no latent of the run."""
    found = opened.index(run)
    index = found.index
    checked_latent(found, run, latent)
    record, windows = index.record(latent), Windows(index, latent, found.texts)
    said = explanations(opened.explained, index, windows, latent)
    entries = opened.explained.entries(index).of([latent, *beside(record)])  # one question for all of them
    return FeaturePage(
        title=f"{run} / {latent}",
        typed=opened.workspace.typed,
        run=opened.card(run),
        sites=index.sites,
        latent=latent,
        asked=asked,
        next_seed=(asked.seed + 1) % SEEDS,
        within=within(opened, run, latent, asked.from_),
        flags=flags(record, index.n_tokens_total, single_token=bool(index.single_token[latent])),
        dead=record.dead,
        density=record.density,
        chosen_activity=activity_of(opened, run),
        component=component_address(opened, run, latent),
        max=float(index.table["max"][latent]),
        n_tokens=index.n_tokens_total,
        headline=_headline(entries.get(latent, []), said),
        explanations=said,
        ask=ask_view(opened, run, latent, state),
        sampled=index.sampled,
        statistics=record.statistics,
        activity=activity(index, record, windows, asked),
        ranges=ranges(record),
        examples=example_sets(found, record, windows, asked),
        logits_top=tokens_of(found.texts, record.logits_top),
        logits_bottom=tokens_of(found.texts, record.logits_bottom),
        logits_note=index.manifest.notes["logits"],
        tally=tally(found.texts, record),
        effects=effects_view(opened.effects(run), latent, windows, found.texts),
        of_model=of_model_view(opened, run, latent),
        coefficients=coefficients_view(opened, run, latent),
        carried=carried(opened, run, latent),
        automata=automata_of_view(opened, run, latent),
        rule_tests=rule_tests_view(opened, run, latent),
        in_others=in_others(opened, run, latent),
        widths=widths_view(opened, run, latent),
        kin=kin_of(opened, run, latent),
        relations=relations(entries, record),
        others=[other for other in opened.workspace.runs() if other != run and opened.has(other, "index")],
        elsewhere=_elsewhere(opened, run, latent),
        provenance=_provenance(found),
    )


PAGE = Page(path="/runs/{run}/features/{latent}", build=feature, template=TEMPLATES / "feature.html")


def _headline(entries: list[Entry], said: list[ExplanationView]) -> Score | None:
    """What stands beside the label: the score by which lists order the first explanation."""
    foremost = [headline for entry in entries[:1] for headline in entry.headlines]
    of_first = [score for one in said[:1] for scorer in one.scorers for score in scorer.scores]
    wanted = [(headline.scorer, headline.metric) for headline in foremost[:1]]
    return next((score for score in of_first if (score.scorer, score.metric) in wanted), None)


def _elsewhere(opened: OpenWorkspace, run: str, latent: int) -> ElsewhereView | None:
    found = opened.elsewhere(run)
    return ElsewhereView(notice=found.notice, stated=found.stated(latent)) if found else None


def _provenance(found: OpenIndex) -> dict[str, str]:
    """Ids of all it came from; the mask in words."""
    index = found.index
    manifest = index.manifest
    masks = ", ".join(f"{count(n)} {name.replace('_', ' ')}" for name, n in manifest.notes["masks"].items())
    counted = ", ".join(f"{split} {count(n)}" for split, n in index.n_tokens.items())
    ours = {"sparselex": manifest.code_version, **index.sites.names()}
    return {"index": index.id, **manifest.inputs, **ours, "tokens counted": counted, "tokens left out": masks or "none"}
