"""Figures of a run's explanations, from the workspace's database."""

from sparselex.base.artifacts import MANIFEST, read_json
from sparselex.base.figures import Figure, mean_figure, median_figure
from sparselex.base.workspace import Workspace
from sparselex.explain.records import DEFINITIONS, Explanation, Score
from sparselex.explain.store import ExplanationStore

_NAME = "explain/rule"
_SHARE = "share of living latents with a rule that beats its null on validation documents; the others are abstentions"


def stored_explanation_figures(workspace: Workspace, run: str) -> list[Figure]:
    """The figures of what is said of the latents of a run's index; none where there is no index."""
    manifest = read_json(workspace.run(run) / "index" / MANIFEST)
    return explanation_figures(ExplanationStore(workspace.database).all(manifest["id"])) if manifest else []


def explanation_figures(explanations: list[Explanation]) -> list[Figure]:
    """Share of latents explained, and the median of each measure over them, with intervals over latents."""
    flags, empty = [one.status == "explained" for one in explanations], "no latent has been explained yet"
    share = mean_figure(f"{_NAME}/explained_share", flags, _SHARE, over="latents", empty=empty)
    scores = [score for one in explanations if one.status == "explained" for score in one.scores]
    return [share, *(_median(metric, scores) for metric in DEFINITIONS)] if explanations else [share]


def _median(metric: str, scores: list[Score]) -> Figure:
    found = median_figure(
        f"{_NAME}/{metric}",
        [score.value for score in scores if score.metric == metric],
        f"median over explained latents of: {DEFINITIONS[metric]}",
        over="latents",
        empty="no latent has this score",
    )
    nulls = [score.null for score in scores if score.metric == metric and score.null is not None]
    beside = median_figure("null", nulls, "", over="latents").value
    return found if found.failure else found.model_copy(update={"null": beside})
