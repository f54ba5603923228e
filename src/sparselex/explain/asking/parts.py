"""The figures of everybody whose explanations a language model judged, as the database has them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sparselex.base.estimates import figure_of, mean_figure
from sparselex.base.figures import Better, Figure
from sparselex.base.files import fingerprint
from sparselex.explain.asking.registry import JUDGES
from sparselex.explain.asking.store import About, Asked, AskedStore
from sparselex.explain.asking.tenths import tenth_figures
from sparselex.explain.figures import score_figures, share_figure
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore


def judge_id(judging_id: str, judge: str, text: str) -> str:
    """What tells one judge's scores of an explanation from those of another text, or by another configuration."""
    return fingerprint([judging_id, judge, text])


class Part(NamedTuple):
    """What is there of one explainer."""

    about: About
    """Which latents, under which configuration."""

    index_id: str
    """The index that they are of."""

    store: ExplanationStore
    asked: AskedStore

    failed: Sequence[Explanation] = ()
    """Failures that were not written, since the latents have an explanation."""

    @property
    def explanations(self) -> list[Explanation]:
        """What was said of the latents, whatever came of it."""
        name, about = self.about.explainer, self.about
        drawn = set(about.latents) - {one.latent for one in self.failed}
        if about.writing_id:
            drawn &= self.store.statuses(self.index_id, name, about.writing_id).keys()
        return [*(one for one in self.store.all(self.index_id, name) if one.latent in drawn), *self.failed]

    def treated(self, judge: str) -> set[int]:
        """Explained latents of which a judge has judged this very text, with whatever outcome."""
        texts = {one.latent: one.text for one in self.explanations if one.status == "explained"}
        ids = self.store.scoring_ids(self.index_id, self.about.explainer, judge)
        ours = lambda latent, text: judge_id(self.about.judging_id, judge, text)
        return {latent for latent, text in texts.items() if ids.get(latent) == ours(latent, text)}

    def unscored(self, judge: str) -> set[int]:
        """Those of them that it could not score."""
        return self.treated(judge) & self.store.unscored(self.index_id, self.about.explainer, judge)

    def first_failure(self, judges: Sequence[str]) -> str:
        """Why the first explanation failed that did, or else the first scoring by these; empty where none did."""
        why = [one.text for one in self.explanations if one.status == "failed"]
        for name in judges:
            why += [
                one.reason for one in self.store.failures(self.index_id, explainer=self.about.explainer, scorer=name)
            ]
        return why[0] if why else ""

    def rows(self) -> list[Asked]:
        """What was asked of these latents."""
        own = {one.latent for one in self.explanations}
        return [row for row in self.asked.of_index(self.index_id, self.about.explainer) if row.latent in own]

    def figures(self) -> list[Figure]:
        """The share of latents with an explanation, each judge's medians, and what a latent costs."""
        figures = [self._share()]
        for name, why in self.about.judges.items():
            if name in JUDGES.names():
                figures += self._of_judge(name, why)
        rows = self.rows()
        return [*figures, *([_tokens(self._path, rows)] if rows else [])]

    @property
    def _path(self) -> str:
        """The explainer in names of figures, whose parts are parted by a slash."""
        return self.about.explainer.replace("/", "_")

    def _share(self) -> Figure:
        about, explanations = self.about, self.explanations
        if about.explained:
            return share_figure(self._path, about.explained, explanations, drawn=True)
        return mean_figure(
            f"explain/{self._path}/covered_share",
            [one.status == "explained" for one in explanations],
            f"share of the drawn latents with an explanation by {about.explainer} that could be judged; of the others "
            "it says nothing",
            over="latents",
            empty="it says nothing of any latent",
        )

    def _of_judge(self, name: str, why: str) -> list[Figure]:
        """The medians of one judge's measures, and how many explanations say more than a table of tokens does."""
        judge, path = JUDGES.get(name), f"explain/{self._path}/{name}"
        empty = f"nothing was scored: {why}" if why else "no latent is judged"
        latents = set() if why else self.treated(name) - self.unscored(name)
        by_latent = self.store.scores_by_latent(self.index_id, self.about.explainer, name)
        scores = [score for latent in sorted(latents) for score in by_latent.get(latent, [])]
        better: Better = getattr(judge, "better", "")
        figures = score_figures(path, judge.headline, judge.definitions, scores, better=better, empty=empty)
        pairs = [{score.metric: score.value for score in by_latent.get(latent, [])} for latent in sorted(latents)]
        flags = [one["auroc"] > one["lookup"] for one in pairs if {"auroc", "lookup"} <= one.keys()]
        words = "share of judged latents whose explanation has a higher AUROC than the table of tokens on the same "
        words += "windows"
        beats = mean_figure(f"{path}/beats_lookup", flags, words, over="latents", better="higher", empty=empty)
        return [*figures, beats, *self._by_tenth(name, path, pairs, latents, empty)]

    def _by_tenth(
        self, name: str, path: str, pairs: Sequence[Mapping[str, float]], latents: set[int], empty: str
    ) -> list[Figure]:
        """Recall by strength, of judges who say of windows whether they fit."""
        if "recall_weak" not in JUDGES.get(name).definitions:
            return []
        said = self.store.said_by_latent(self.index_id, self.about.explainer, name)
        alarms = [1 - one["specificity"] for one in pairs if "specificity" in one]
        null = float(np.mean(alarms)) if alarms else None
        return tenth_figures(path, {latent: said.get(latent, []) for latent in sorted(latents)}, null, empty)


def _tokens(path: str, asked: Sequence[Asked]) -> Figure:
    """What explaining and judging one latent costs."""
    latents = sorted({row.latent for row in asked})
    total = dict.fromkeys(latents, 0)
    for row in asked:
        total[row.latent] += row.n_prompt_tokens + row.n_answer_tokens
    return figure_of(
        f"explain/{path}/tokens",
        np.array([[total[latent], 1] for latent in latents], dtype=float),
        lambda s: s[..., 0] / s[..., 1],
        "mean tokens read and written by the model to explain a latent and judge its explanation, as the server counts",
        over="latents",
        better="lower",
        unit="tokens",
    )
