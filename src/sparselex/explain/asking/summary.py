"""What came of a run of `explain --llm`, without anything that the browser would have to load."""

from pathlib import Path

from sparselex.base.artifacts import open_artifact
from sparselex.base.figures import Figures
from sparselex.explain.asking.words import upper_first
from sparselex.explain.summary import ExplainSummary

KIND = "explanations-llm"
"""Kind of the artifact that holds the figures."""


class AskSummary(ExplainSummary):
    """What came of a run of `explain --llm`."""

    model: str
    """The language model that was asked."""

    explainer: str = "llm"
    """Who explained."""

    written: bool = True
    """Whether explanations were written, and not only judged."""

    n_left: int
    """Latents that were to be explained or judged and are not, since the budget was spent."""

    n_requests: int
    """Questions answered for what is there, those from the cache among them."""

    n_prompt_tokens: int
    """Tokens that the model read for it, as its server counts them."""

    n_answer_tokens: int
    """Tokens that it wrote."""

    n_unanswered: int = 0
    """Windows that judges were shown and of which nothing could be read."""

    first_failure: str = ""
    """Why the first explanation failed that did, or else the first scoring."""

    stopped: str = ""
    """Why not everything was asked; empty where it was."""

    unfit: str = ""
    """Why nothing was scored by this judge; empty where it can tell what is known."""

    @classmethod
    def of(cls, folder: Path | str) -> "AskSummary":
        """The summary of a finished artifact. Raises `UserError` if there is none."""
        notes, figures = open_artifact(Path(folder), KIND).notes, Figures.read(Path(folder)).figures
        return cls(figures=figures, **notes)

    def __str__(self) -> str:
        by = "" if self.explainer == "llm" else f" as {self.explainer}"
        parts = [f"{self.n_explained:,} latents explained by {self.model}{by}"]
        if not self.written:
            parts = [f"{self.n_explained:,} explanations by {self.explainer} before {self.model}"]
        prefix = f"explain/{self.explainer.replace('/', '_')}/"
        own = [one for one in self.figures if one.name.startswith(prefix) and one.name.count("/") == 3]
        score = next((one for one in own if one.value is not None), None)
        if score is not None:
            null = "" if score.null is None else f", null {score.null:.3f}"
            what = " ".join(score.name.split("/")[2:]).replace("_", " ")
            ends = (score.ci_low, score.ci_high)
            interval = "" if None in ends else f", 95 % interval {ends[0]:.3f} to {ends[1]:.3f}"
            parts[0] += f" (median {what} {score.value:.3f} of {score.n_units:,} on test documents{interval}{null})"
        counts = ((self.n_abstained, "abstained"), (self.n_failed, "failed"), (self.n_unscored, "scorings failed"))
        parts += [f"{n:,} {what}" for n, what in (*counts, (self.n_left, "left")) if n]
        tokens = f"{self.n_prompt_tokens:,} tokens read, {self.n_answer_tokens:,} written"
        answers = f"{self.n_requests:,} answers stand behind what is there"
        if self.n_unanswered:
            answers += f" ({self.n_unanswered:,} windows unanswered)"
        failure = f"the first failure: {self.first_failure.rstrip('.')}" if self.first_failure else ""
        said = [f"{upper_first(one)}." for one in (failure, self.stopped, self.unfit) if one]
        return " ".join([f"{', '.join(parts)}; {answers}, {tokens}.", *said])
