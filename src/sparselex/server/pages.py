"""Workspace in, page context out: pure functions, tested without HTTP."""

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.evaluate.report import TWIN, evaluation_of, report
from sparselex.features.index import FeatureIndex
from sparselex.features.records import TokenEffect
from sparselex.server.contexts import (
    AboutPage,
    FeaturePage,
    FeatureRow,
    FeaturesPage,
    IntervalView,
    OverviewPage,
    RunSummary,
    TokenView,
)
from sparselex.server.reading import Reading
from sparselex.server.windows import visible, window

STAGES = ("dictionary", "index", "evaluation")
SORTS = ("latent", "f1", "density", "max")
PER_PAGE = 50
DENSE_ABOVE = 0.1


def overview(reading: Reading) -> OverviewPage:
    """The workspace at a glance."""
    workspace = reading.workspace
    try:
        found = report(workspace)
        figures, verdicts = found.figures, found.verdicts
    except UserError:
        figures, verdicts = [], []
    controls = {name for figure in figures for name in figure.controls}
    evaluations = {run: evaluation_of(workspace, run) for run in workspace.runs()}
    return OverviewPage(
        title=f"{workspace.path.name}: overview",
        runs=[_summary(reading, run) for run in workspace.runs()],
        figures=figures,
        control_names=sorted(controls, key=lambda name: (name != TWIN, name)),
        verdicts=verdicts,
        densities={run: found.density for run, found in evaluations.items() if found},
    )


def features(
    reading: Reading, run: str, *, query: str = "", sort: str = "f1", descending: bool = True, page: int = 1
) -> FeaturesPage:
    """One page of the feature list. Unknown sort columns and page numbers out of range fall back to the nearest."""
    index = reading.index(run)
    explained = reading.explanations.rows(index.id)
    sort = sort if sort in SORTS else "f1"
    latents = _matching(reading, index, query.strip())
    latents = latents[_order(index, explained, latents, sort, descending)]
    n_pages = max(1, -(-len(latents) // PER_PAGE))
    page = min(max(1, page), n_pages)
    shown = latents[(page - 1) * PER_PAGE : page * PER_PAGE]
    return FeaturesPage(
        title=f"{run}: features", run=run, rows=[_row(index, explained, int(latent)) for latent in shown],
        n_found=len(latents), n_latents=index.d_sae, page=page, n_pages=n_pages, query=query, sort=sort,
        descending=descending,
    )  # fmt: skip


def feature(reading: Reading, run: str, latent: int) -> FeaturePage:
    """Everything about one feature. Raises `UserError` for a number that is no latent."""
    index = reading.index(run)
    record = index.record(latent)
    largest = abs(float(index.table["max"][latent]))
    return FeaturePage(
        title=f"{run} / {latent}", run=run, latent=latent, previous=(latent - 1) % index.d_sae,
        next=(latent + 1) % index.d_sae, dead=record.dead, density=record.density, max=float(index.table["max"][latent]),
        n_tokens=index.n_tokens_total, explanation=reading.explanations.of_latent(index.id, latent),
        statistics=record.statistics, histogram=record.histogram,
        top=[window(index, latent, example, largest) for example in record.top],
        intervals=[
            IntervalView(low=i.low, high=i.high, n=i.n, examples=[window(index, latent, e, largest) for e in i.examples])
            for i in record.intervals
        ],
        logits_top=_tokens(index, record.logits_top), logits_bottom=_tokens(index, record.logits_bottom),
        logits_note=index.manifest.notes["logits"], neighbours=record.neighbours,
        provenance={"index": index.id, **index.manifest.inputs, "code version": index.manifest.code_version,
                    "hook": index.manifest.config["hook"], "tokens left out": _words(index.manifest.notes["masks"])},
    )  # fmt: skip


def about(reading: Reading, run: str) -> AboutPage:
    """Where everything in a run came from."""
    if run not in reading.workspace.runs():
        raise UserError(f"There is no run {run!r}.", ", ".join(reading.workspace.runs()) or "a run", "check the name.")
    found = {kind: reading.manifest(run, kind) for kind in ("activations", *STAGES)}
    found["corpus"] = reading.manifest(run, "../../corpus")
    manifests = {kind: {k: v for k, v in m.items() if k != "files"} for kind, m in found.items() if m}
    return AboutPage(title=f"{run}: provenance", run=run, manifests=manifests)


def _summary(reading: Reading, run: str) -> RunSummary:
    values = reading.workspace.settings(run)
    trained = reading.manifest(run, "dictionary")
    dictionary = trained["config"]["dictionary"] if trained else None
    missing = [kind for kind in STAGES if reading.manifest(run, kind) is None]
    return RunSummary(
        name=run, model=values["model"]["name"], control=values["model"]["control"],
        hook=trained["inputs"]["hook"] if trained else values["hook"] or "default", text=values["text"]["source"],
        dictionary=f"{dictionary['kind']}, {dictionary['d_in']} → {dictionary['d_sae']:,}" if dictionary else None,
        n_tokens=trained["notes"]["n_tokens"] if trained else None, missing=missing, indexed="index" not in missing,
    )  # fmt: skip


def _matching(reading: Reading, index: FeatureIndex, query: str) -> NDArray[np.int64]:
    """Latents by number, by words of their explanation, or by their strongest token."""
    if not query:
        return np.arange(index.d_sae)
    if query.isdecimal():
        return np.array([int(query)] if int(query) < index.d_sae else [], dtype=np.int64)
    found = set(reading.explanations.search(index.id, query))
    vocabulary = index.corpus.vocabulary
    tokens = {i for i in range(len(vocabulary)) if query in vocabulary.text(i)}
    top = top_tokens(index)
    found |= {latent for latent, token in enumerate(top) if token in tokens}
    return np.array(sorted(found), dtype=np.int64)


def top_tokens(index: FeatureIndex) -> list[int]:
    """Token of each latent's largest training activation; -1 for one never active there."""
    positions = np.asarray(index.top_positions)
    tokens = np.asarray(index.corpus.tokens).reshape(-1)
    return np.where(positions >= 0, tokens[positions.clip(min=0)].astype(np.int64), -1).tolist()


def _order(
    index: FeatureIndex, explained: dict, latents: NDArray[np.int64], sort: str, descending: bool
) -> NDArray[np.int64]:
    if sort == "latent":
        values = latents.astype(float)
    elif sort == "f1":
        values = np.array([explained.get(int(i), (None,) * 4)[2] or np.nan for i in latents], dtype=float)
    else:
        values = np.abs(index.table[sort][latents].astype(float))
    # What has no value comes last either way.
    return np.lexsort((latents, np.nan_to_num(-values if descending else values, nan=np.inf)))


def _row(index: FeatureIndex, explained: dict, latent: int) -> FeatureRow:
    status, title, f1, null = explained.get(latent, ("unexplained", "not explained yet", None, None))
    density = float(index.table["density"][latent])
    position = int(index.top_positions[latent])
    token = int(index.corpus.tokens[divmod(position, index.corpus.n_ctx)]) if position >= 0 else None
    flags = [name for name, is_so in (("dead", density == 0), ("dense", density > DENSE_ABOVE)) if is_so]
    return FeatureRow(
        latent=latent, title="never active on the counted tokens" if density == 0 else title, status=status, f1=f1,
        null_f1=null, density=density, max=float(index.table["max"][latent]),
        top_token="" if token is None else visible(index.corpus.vocabulary.text(token), active=True), flags=flags,
    )  # fmt: skip


def _tokens(index: FeatureIndex, effects: list[TokenEffect]) -> list[TokenView]:
    text = index.corpus.vocabulary.text
    return [TokenView(token=e.token, text=visible(text(e.token), active=True), value=e.value) for e in effects]


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items())
