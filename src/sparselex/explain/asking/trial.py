"""One latent before one judge: its windows are judged by its explanation, and for the null by another's and by none."""

from collections.abc import Sequence

import numpy as np

from sparselex.base.figures import Failure
from sparselex.base.intervals import LEVEL
from sparselex.explain.asking.drawing import Drawing, Drawn
from sparselex.explain.asking.judging import Item, Judged, Nulls, Weigh, judgements, scores
from sparselex.explain.asking.looks import Looks, is_decided
from sparselex.explain.asking.protocols import Told
from sparselex.explain.records import Explanation, Scored
from sparselex.llm.records import Capabilities, Talk


def trial(
    judge: str,
    variant: str,
    weigh: Weigh,
    drawing: Drawing,
    drawn: Drawn,
    items: Sequence[Item],
    explanation: Explanation,
    another: str | None,
    can: Capabilities,
) -> Talk[Told]:
    """Judge `items`, the windows that were `drawn`, and score what is said of them. Where the configuration looks
    several times, the rest is not judged once that would tell no more."""
    subject, config = f"latent {explanation.latent}", drawing.config
    kinds = {item.kind for item in items}
    if not {"active", "silent"} <= kinds:
        missing = "active" if "active" not in kinds else "silent"
        reason = f"there is no window of test documents in which it is {missing}"
        return Told(Failure(subject=subject, reason=reason), variant, 0)
    documents, judged = drawing.windows.documents[drawn.numbers], np.empty(0, dtype=np.int64)
    found, why, looks = Judged([], np.empty(0)), "", Looks.of(items, config.looks)
    for part in looks.parts:
        judged = np.concatenate([judged, part])
        more, reason = yield from weigh(explanation.text, [items[place] for place in part.tolist()], can)
        found, why = found.then(more), why or reason
        if is_decided(found.settled(), documents[judged], config, looks.level):
            break
    null, empty = None, None
    if another is not None:
        null = (yield from weigh(another, found.items, can))[0].settled()
        empty = (yield from weigh("", found.items, can))[0].order
    found = found.settled()
    n_unanswered = int(np.isnan(found.said).sum())
    answered = {item.kind for item, said in zip(found.items, found.said, strict=True) if not np.isnan(said)}
    if not {"active", "silent"} <= answered:
        reason = f"of {len(found.items)} windows {n_unanswered} were not judged: {why}"
        return Told(Failure(subject=subject, reason=reason), variant, n_unanswered)
    nulls = Nulls(null, empty, drawing.lookup(explanation.latent, drawn.numbers[judged]))
    level = LEVEL if len(looks.parts) == 1 else looks.level
    made = scores(judge, explanation.explainer, found, nulls, documents[judged], drawn.base_rate, level=level)
    scored = Scored(made, judgements(judge, explanation.explainer, found))
    return Told(scored, variant, n_unanswered, found.items)
