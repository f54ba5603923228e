"""Several explanations of a latent drawn, and the one kept that does best on validation documents.

Whoever keeps the best by the documents on which he reports it reports his luck: test documents are not looked at here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sparselex.base.figures import Failure
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Judges, Told, Writes
from sparselex.explain.asking.registry import JUDGES
from sparselex.explain.asking.store import Candidate
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.together import at_once, going_on
from sparselex.explain.evidence import Choosing, Evidence
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.features.index import FeatureIndex
from sparselex.llm.records import Answer, Capabilities, Request, Talk

_TEMPERATURE = 0.7
"""Of the draws: that of published explanations that are drawn several at a time (Paulo et al. 2024)."""


class Chosen(NamedTuple):
    """An explanation, and what it was chosen from."""

    told: Told
    """What came of the latent."""

    candidates: Sequence[Candidate] = ()
    """All that were drawn, where there was a choice."""


class Chooser:
    """Draws explanations by a writer, and has a judge choose.

    Args:
        index: of whose validation documents windows are drawn.
        config: how many explanations are drawn, by how many windows they are chosen, and by which judge.
        writer: who explains.
        subject: opens the model, for a judge that looks at what it does.
    """

    def __init__(self, index: FeatureIndex, config: AskConfig, writer: Writes, subject: Opens | None):
        self.writer, self.n, self.name = writer, config.best_of, config.judges[0]
        few = {"active": config.best_windows, "silent": config.best_windows, "prompts": config.best_windows}
        by = config.model_copy(update={**few, "hard": 0, "looks": 1})
        evidence = Evidence(index, config.seed)
        self.judge: Judges = JUDGES.get(self.name)(evidence, Choosing(index, config.seed), by, subject)
        self._sign = -1 if getattr(self.judge, "better", "") == "lower" else 1

    def talk(self, latent: int, can: Capabilities) -> Talk[Chosen]:
        """Ask for all explanations at once, then for the judge's word on each that differs; of equals the first is
        kept."""
        drafts = yield from self._drafts(latent, can)
        texts = {draft.found.text: draft.found for draft in drafts if isinstance(draft.found, Explanation)}
        values = dict[str, Score | None]()
        if len(texts) > 1:
            told = yield from at_once([self.judge.talk(one, None, can) for one in texts.values()])
            values = {text: self._headline(one) for text, one in zip(texts, told, strict=True)}
        worth = lambda place: self._worth(drafts[place], values)
        best = max(range(len(drafts)), key=lambda place: (worth(place), -place))
        n_failed = len(drafts) - sum(isinstance(draft.found, Explanation) for draft in drafts)
        variant = f"{drafts[best].variant}, best of {len(drafts)} by {self.name} on validation documents"
        kept = drafts[best]._replace(variant=variant, n_unanswered=n_failed)
        candidates = [self._candidate(latent, n, draft, values, n == best) for n, draft in enumerate(drafts)]
        return Chosen(kept, candidates)

    def _drafts(self, latent: int, can: Capabilities) -> Talk[list[Told]]:
        """What came of each draw. The writer's first questions are asked once, for several answers."""
        talks = [self.writer.talk(latent, can) for _ in range(self.n)]
        try:
            wanted, *_ = [next(talk) for talk in talks]
        except StopIteration as end:
            return [end.value]
        drawn = {"n": self.n, "temperature": _TEMPERATURE}
        answers = yield [Request(**{**dict(question), **drawn}) for question in wanted]
        parts = [_several(answer, self.n) for answer in answers]
        return (yield from at_once([going_on(talk, row) for talk, row in zip(talks, zip(*parts, strict=True))]))

    def _headline(self, told: Told) -> Score | None:
        scores = told.found.scores if isinstance(told.found, Scored) else []
        return next((score for score in scores if score.metric == self.judge.headline), None)

    def _worth(self, draft: Told, values: dict[str, Score | None]) -> tuple[int, float]:
        """How good a draw is: one that failed is worth less than one that could not be judged."""
        if not isinstance(draft.found, Explanation):
            return 0, 0.0
        score = values.get(draft.found.text)
        return (1, 0.0) if score is None else (2, self._sign * score.value)

    def _candidate(
        self, latent: int, place: int, draft: Told, values: dict[str, Score | None], kept: bool
    ) -> Candidate:
        found = draft.found
        is_said = isinstance(found, Explanation)
        text = found.text if isinstance(found, Explanation) else found.reason if isinstance(found, Failure) else ""
        score = values.get(text) if is_said else None
        return Candidate(
            latent=latent,
            explainer="",
            place=place,
            text=text,
            failed=not is_said,
            kept=kept,
            judge=self.name,
            metric=self.judge.headline,
            value=score.value if score else None,
            ci_low=score.ci_low if score else None,
            ci_high=score.ci_high if score else None,
            n=score.n if score else 0,
        )


def _several(answer: Answer | Failure, n: int) -> list[Answer | Failure]:
    """One answer with others as that many answers; a failure is that of each."""
    if isinstance(answer, Failure):
        return [answer] * n
    alone = answer.model_copy(update={"others": ()})
    return [alone, *(Answer(text=text) for text in answer.others)]
