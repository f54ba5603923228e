"""The figures of people's ratings, made as those of any scorer are, and kept where the report finds them."""

from pathlib import Path

from sparselex.base.config import Config
from sparselex.base.figures import Figures
from sparselex.base.files import fingerprint
from sparselex.base.staging import stage
from sparselex.explain.figures import score_figures
from sparselex.explain.ratings.records import DEFINITIONS, HEADLINE, PEOPLE, pooled
from sparselex.explain.ratings.store import RatingStore
from sparselex.explain.store import ExplanationStore

KIND = "ratings"
"""Kind of the artifact."""


class RatingsConfig(Config):
    """How ratings are summarised: there is nothing to choose."""


def summarise(index_id: str, database: Path, to: Path) -> Figures | None:
    """Score what people said of an index's explanations, and write the figures of that to `to`; None where nobody has
    rated anything."""
    store, explanations = RatingStore(database), ExplanationStore(database)
    ratings = store.all(index_id)
    if not ratings:
        return None
    store.score(index_id)
    figures = []
    for explainer, _, _ in explanations.explainers(index_id):
        found = [one for one in explanations.scores(index_id, explainer=explainer) if one.scorer == PEOPLE]
        if found:
            figures += pooled(explainer, explanations.all(index_id, explainer), ratings)
            figures += score_figures(f"explain/{explainer}/{PEOPLE}", HEADLINE, DEFINITIONS, found, better="higher")
    inputs = {
        "index": index_id,
        "ratings": fingerprint([one.to_json() for one in ratings]),
        "words": explanations.fingerprint(index_id),
    }
    with stage(to, KIND, RatingsConfig(), inputs) as staging:
        if not staging.made:
            Figures(figures=figures).write(staging.folder)
            staging.finish({"n_ratings": len(ratings)})
    return Figures(figures=figures)
