"""Other people's dashboards become a run that can be read: their texts as its corpus, their activations as its index,
their explanations with authors and scores, and whatever else they say kept beside."""

from collections import Counter
from pathlib import Path
from typing import Any

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint, remove
from sparselex.base.runs import RunCard
from sparselex.base.sites import Hook, Mask, Sites
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.convert.dashboard import Bars, Dashboard, DashboardExplanation, DashboardSet
from sparselex.convert.dashboard_files import Read, read_dashboards
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.features.elsewhere import KIND, Stated, StatedToken, write_stated
from sparselex.features.records import Histogram
from sparselex.recipes.dashboards.names import LONGEST_TITLE, public_name
from sparselex.recipes.dashboards.playback import Played, Texts, playback
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig

_SCORE = "as the file says: what was measured, by whom and on how many tokens is not told there, and there is no null"


class Taken(Config):
    """What was read."""

    run: str
    """The run that it became."""

    source: str
    """Name of the file or folder."""

    format: str
    """saedashboard, neuronpedia, openai or delphi."""

    model: str
    """The model, by the name that it has there."""

    dictionary: str
    """The dictionary, by the name that it has there."""

    n_features: int
    """Features that are there."""

    n_texts: int
    """Different texts of their examples."""

    n_read: int
    """Tokens that its makers read, as the files say; 0 where they do not."""

    n_explanations: int
    """What is said of them."""

    left_out: dict[str, int]
    """What examples and explanations say beside and no page shows, and how often."""


def take_dashboards(workspace: Workspace, run: str, source: Path) -> Taken:
    """Read the dashboards in a file or folder as a run of the workspace.

    Raises `UserError` for what `read_dashboards` refuses, and for a run of that name that was made otherwise.
    """
    check_free(workspace, run)
    read = read_dashboards(source)
    texts = Texts(read.dashboards)
    if not texts.n_ctx:
        raise UserError(f"{source} has no example of any feature.", "dashboards with examples", "give another folder.")
    said = _told(read)
    taken = Taken(
        run=run,
        source=public_name(str(source.absolute())),
        format=read.format,
        model=read.of.model,
        dictionary=read.of.source,
        n_features=len(read.dashboards),
        n_texts=texts.n_texts,
        n_read=read.of.n_prompts * read.of.n_prompt_tokens,
        n_explanations=sum(map(len, said.values())),
        left_out=read.left_out,
    )
    _write(workspace, taken, read, texts, said)
    return taken


def _write(
    workspace: Workspace, taken: Taken, read: Read, texts: Texts, said: dict[int, list[DashboardExplanation]]
) -> None:
    config = CorpusConfig(
        source=taken.source, n_ctx=texts.n_ctx, bos="never", layout="prompts", shares=(1, 0, 0), copies="apart"
    )
    folder = workspace.corpora / fingerprint([config.to_json(), texts.id])
    corpus = build_corpus(texts.documents(), texts, config, folder, text_id=texts.id)
    sites = Sites(hooks=(_hook(read.of),), mask=Mask(norm_outlier=0))
    card = RunCard(name=taken.run, model=read.of.model, sites=sites, corpus=folder.name)
    workspace.keep(card, {KIND: taken.source})
    inputs = {"dashboards": texts.entries_id, "corpus": corpus.id}
    model = playback(read.of.model, texts, corpus)
    index = build_index(
        model, Played(texts), corpus, sites, IndexConfig(), workspace.run(taken.run) / "index", inputs=inputs
    )
    with stage(workspace.run(taken.run) / KIND, KIND, taken, {"index": index.id}) as staging:
        if not staging.made:
            write_stated(staging.folder, _stated(read.dashboards), texts.d_sae)
            staging.finish(taken.to_json() | {"files": dict(read.of.others)})
    _write_words(ExplanationStore(workspace.database), index.id, said)


def check_free(workspace: Workspace, run: str) -> None:
    """Raise `UserError` for a run of that name that was made here; what was read under it before is taken away."""
    if run in workspace.begun() and KIND not in workspace.settings(run):
        raise UserError(
            f"{workspace.path} has a run {run!r} already, and it was made here.",
            "a new name",
            "give another --run.",
        )
    if run in workspace.begun():  # read again: as the files are now
        remove(workspace.run(run) / "index")
        remove(workspace.run(run) / KIND)


def _hook(of: DashboardSet) -> Hook:
    """Where the model was read, as the files say; by the dictionary's name where they do not say it."""
    try:
        return Hook(of.hook)
    except UserError:
        return Hook(f"module:{of.hook or of.source}")


def _stated(dashboards: list[Dashboard]) -> dict[int, Stated]:
    """What is said of each latent; nothing of those whose files have examples alone."""
    return {
        one.latent: Stated(
            density=one.density,
            largest=one.largest,
            histogram=_histogram(one.activations),
            logits=_histogram(one.logits),
            raised=_tokens(one.raised),
            lowered=_tokens(one.lowered),
            others=dict(one.others),
        )
        for one in dashboards
        if one.density is not None or one.others
    }


def _tokens(pairs: tuple[list[str], list[float]]) -> list[StatedToken]:
    return [StatedToken(text=text, value=value) for text, value in zip(*pairs, strict=True)]


def _histogram(bars: Bars) -> Histogram | None:
    """Bars by their centres as bins by their edges."""
    if len(bars.centres) < 2:
        return None
    half = (bars.centres[1] - bars.centres[0]) / 2
    edges = [bars.centres[0] - half, *(centre + half for centre in bars.centres)]
    return Histogram(edges=edges, counts=bars.counts)


def _told(read: Read) -> dict[int, list[DashboardExplanation]]:
    return {one.latent: one.explanations for one in read.dashboards if one.explanations}


def _write_words(store: ExplanationStore, index_id: str, said: dict[int, list[DashboardExplanation]]) -> None:
    """Every explanation under the name of who says it; of several by one, all but the first with a number."""
    scored: dict[str, dict[int, Scored]] = {}
    found: list[Explanation] = []
    for latent, words in said.items():
        names = Counter[str]()
        for one in words:
            name = " by ".join(filter(None, (one.by, one.author))) or "unnamed"
            names[name] += 1
            name += f" ({names[name]})" if names[name] > 1 else ""
            text = f"{one.text}\n{one.notes}".strip()
            title = (one.text.split("\n")[0] or one.notes)[:LONGEST_TITLE]
            found.append(Explanation(latent=latent, explainer=name, status="explained", text=text, title=title))
            if one.scores:
                scored.setdefault(name, {})[latent] = Scored([_score(name, *s) for s in one.scores.items()], [])
    store.add(index_id, KIND, found)
    for name, by_latent in scored.items():
        first = next(iter(by_latent.values())).scores[0].metric
        store.add_scored(index_id, name, Scoring("neuronpedia", first, 0, KIND), by_latent)
    if scored:
        store.define("neuronpedia", dict.fromkeys(("scoreV1", "scoreV2"), _SCORE))


def _score(explainer: str, metric: str, value: float) -> Score:
    values: dict[str, Any] = {"value": value, "ci_low": None, "ci_high": None, "n": 0, "null": None}
    return Score(explainer=explainer, scorer="neuronpedia", metric=metric, **values)
