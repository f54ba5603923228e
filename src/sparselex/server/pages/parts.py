"""What several pages show."""

from collections.abc import Mapping

from sparselex.base.config import Config
from sparselex.base.figures import Failure
from sparselex.explain.asking.store import Asked, Candidate, Seen
from sparselex.explain.imported import Imported
from sparselex.explain.records import Entry, Foremost, Headline, Judgement, Score
from sparselex.features.index import FeatureIndex
from sparselex.features.records import Example
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import Explained, Said
from sparselex.server.pages.scorers import Reads, about, verdict


class HeadlineView(Config):
    """A scorer's foremost score of one explanation."""

    scorer: str
    """Who scored."""

    metric: str
    """Which measure."""

    value: float
    """The measure on test documents."""

    null: float | None
    """The same measure where there is nothing to explain."""

    ci_low: float | None
    """Lower end of the 95 % interval; None where it cannot be made."""

    ci_high: float | None
    """Upper end."""

    n: int
    """Observations behind the value."""


class ScoredBy(Config):
    """By whom latents are scored that stand in one list, of whose explanations and by which measure."""

    key: str
    """How addresses name it."""

    explainer: str
    """Whose explanations."""

    scorer: str
    """Who scored."""

    metric: str
    """Which measure, the scorer's foremost."""

    n_latents: int
    """Latents of the run that have such a score."""


class EntryView(Config):
    """An explanation as lists show it."""

    explainer: str
    """Who explained."""

    status: str
    """explained, abstained or failed."""

    title: str
    """The explanation in short, or why there is none."""

    headlines: list[HeadlineView]
    """Scores, the first scorer's first; empty unless explained and scored."""


class JudgementView(Config):
    """What an explanation said of one held-out example."""

    example: ExampleView
    """The example with the text around it."""

    expected: float
    """The activation there."""

    said: float | None
    """What the explanation makes of it; None where there was no answer that could be read."""

    kind: str = ""
    """What the window is that a language model judged, such as active or silent; empty of other scorers."""

    text: str = ""
    """That window as the model read it; empty of other scorers."""

    verdict: str = ""
    """What that comes to: right, wrong, or another word that the scorer has; empty where it has none."""


class ScorerView(Config):
    """What one scorer found of one explanation."""

    scorer: str
    """Who scored."""

    scores: list[Score]
    """Its measures."""

    definitions: dict[str, str]
    """What each of them is, in their order."""

    headline: str = ""
    """The measure that stands for all in lists; empty where none does."""

    how: str = ""
    """How it scores, what its null is, and over what its intervals are."""

    said: str = ""
    """What a number behind a judged window means."""

    judgements: list[JudgementView]
    """Held-out examples that were judged one by one."""


class CostView(Config):
    """What a language model was asked about one explanation."""

    models: list[str]
    """Who was asked."""

    n_requests: int
    """Questions that were answered."""

    n_prompt_tokens: int
    """Tokens that were read."""

    n_answer_tokens: int
    """Tokens that were written."""

    n_unanswered: int
    """Windows, or explanations, of which nothing could be read."""


class ExplanationView(Config):
    """Everything about one explanation of a latent."""

    explainer: str
    """Who explained."""

    status: str
    """explained, abstained or failed."""

    title: str
    """The explanation in short."""

    text: str
    """The explanation; for an abstention or a failure, the reason."""

    scorers: list[ScorerView]
    """Its scores; none unless explained."""

    failures: list[Failure]
    """Scorers that gave no score, with the reasons."""

    cost: CostView | None
    """What was asked for all of that together; None where nobody was."""

    asked: list[Asked]
    """Where a language model was asked: how the explanation was got (an empty `judge`), and each judge's scores."""

    imported: list[Imported]
    """Where it came from if it was not made here, with what its file says of it; none where it was."""

    candidates: list[Candidate]
    """Where several explanations were drawn all of them, with what they were worth on validation documents."""


def entry(found: Entry) -> EntryView:
    """An entry of a list as it is shown."""
    return EntryView(
        explainer=found.explainer,
        status=found.status,
        title=found.title,
        headlines=[HeadlineView(**headline._asdict()) for headline in found.headlines],
    )


def headline_view(found: Headline | None) -> HeadlineView | None:
    """A foremost score as it is shown; None for none."""
    return HeadlineView(**found._asdict()) if found else None


def scored_by(found: Foremost | None) -> ScoredBy | None:
    """By whom a list is scored; None where nothing is."""
    return ScoredBy(key=found.key, **found._asdict()) if found else None


def explanations(explained: Explained, index: FeatureIndex, windows: Windows, latent: int) -> list[ExplanationView]:
    """What is said of a latent, rules first, with its scores by scorer; the text around judged examples is from
    `windows`."""
    found = explained.of(index, latent)
    definitions = explained.definitions() if found else {}
    entries = explained.entries(index).get(latent) if found else []
    foremost = {(one.explainer, line.scorer): line.metric for one in entries for line in one.headlines}
    return [_explanation(said, definitions, foremost, windows) for said in found]


def _explanation(
    said: Said,
    definitions: Mapping[str, dict[str, str]],
    foremost: Mapping[tuple[str, str], str],
    windows: Windows,
) -> ExplanationView:
    found = said.explanation
    headline = lambda name: foremost.get((found.explainer, name), "")
    scorers = dict.fromkeys(score.scorer for score in said.scores)
    return ExplanationView(
        explainer=found.explainer,
        status=found.status,
        title=found.title,
        text=found.text,
        scorers=[_scorer(name, headline(name), said, definitions.get(name, {}), windows) for name in scorers],
        failures=said.failures,
        cost=_cost(said.asked),
        asked=said.asked,
        imported=said.imported,
        candidates=said.candidates,
    )


def _cost(asked: list[Asked]) -> CostView | None:
    if not asked:
        return None
    sums = {name: sum(getattr(one, name) for one in asked) for name in CostView.model_fields if name != "models"}
    return CostView(models=list(dict.fromkeys(one.model for one in asked)), **sums)


def _scorer(name: str, headline: str, said: Said, definitions: dict[str, str], windows: Windows) -> ScorerView:
    judged = [one for one in said.judgements if one.scorer == name]
    seen = {one.position: one for one in said.seen if one.judge == name}
    scores = [score for score in said.scores if score.scorer == name]
    words = about(name, asks=any(one.judge == name for one in said.asked))
    return ScorerView(
        scorer=name,
        scores=scores,
        definitions={score.metric: definitions[score.metric] for score in scores if score.metric in definitions},
        headline=headline,
        how=words.how,
        said=words.said,
        judgements=_judgements(judged, seen, windows, words.reads),
    )


def _judgements(
    judged: list[Judgement], seen: Mapping[int, Seen], windows: Windows, reads: Reads
) -> list[JudgementView]:
    views = windows.views([Example(position=one.position, value=one.expected) for one in judged])
    return [
        JudgementView(
            example=view, expected=one.expected, said=one.said, **_as_read(seen.get(one.position), reads, one.said)
        )
        for one, view in zip(judged, views, strict=True)
    ]


def _as_read(seen: Seen | None, reads: Reads, said: float | None) -> dict[str, str]:
    if seen is None:
        return {}
    return {"kind": seen.kind, "text": seen.text, "verdict": verdict(reads, seen.kind, said)}
