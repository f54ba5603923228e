"""One latent before one judge: its windows are judged by its explanation, and by another's for the null."""

from collections.abc import Sequence

import numpy as np

from sparselex.base.figures import Failure
from sparselex.explain.asking.drawing import Drawing, Drawn
from sparselex.explain.asking.judging import Ask, Item, judged, judgements, scores
from sparselex.explain.asking.protocols import Told
from sparselex.explain.records import Explanation, Scored
from sparselex.llm.records import Capabilities, Talk


def trial(
    judge: str,
    variant: str,
    ask: Ask,
    drawing: Drawing,
    drawn: Drawn,
    items: Sequence[Item],
    explanation: Explanation,
    another: str | None,
    can: Capabilities,
) -> Talk[Told]:
    """Judge `items`, the windows that were `drawn`, and score what is said of them."""
    subject = f"latent {explanation.latent}"
    kinds = {item.kind for item in items}
    if not {"active", "silent"} <= kinds:
        missing = "active" if "active" not in kinds else "silent"
        reason = f"there is no window of test documents in which it is {missing}"
        return Told(Failure(subject=subject, reason=reason), variant, 0)
    per_request = drawing.config.per_request
    found, why = yield from judged(ask, explanation.text, items, per_request, can)
    null = (yield from judged(ask, another, items, per_request, can))[0] if another is not None else None
    n_unanswered = int(np.isnan(found.said).sum())
    answered = {item.kind for item, said in zip(items, found.said, strict=True) if not np.isnan(said)}
    if not {"active", "silent"} <= answered:
        reason = f"of {len(items)} windows {n_unanswered} were not judged: {why}"
        return Told(Failure(subject=subject, reason=reason), variant, n_unanswered)
    documents = drawing.windows.documents[drawn.numbers]
    lookup = drawing.lookup(explanation.latent, drawn.numbers)
    made = scores(judge, explanation.explainer, found, null, documents, drawn.base_rate, lookup)
    return Told(Scored(made, judgements(judge, explanation.explainer, found)), variant, n_unanswered, items)
