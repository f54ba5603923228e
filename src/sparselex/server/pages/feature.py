"""`/runs/<run>/features/<latent>`: everything about one feature."""

from sparselex.base.formats import count
from sparselex.features.index import FeatureIndex
from sparselex.features.records import FeatureRecord, TokenEffect
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import Windows
from sparselex.server.contexts import FeaturePage, IntervalView, NeighbourView, TokenView
from sparselex.server.pages.features import flags_of
from sparselex.server.pages.overview import control_of
from sparselex.server.reading import UNEXPLAINED, NoSuchPage, Reading


def feature(reading: Reading, run: str, latent: int) -> FeaturePage:
    """Everything about one feature. Raises `NoSuchPage` for a number that is no latent of the run."""
    opened = reading.index(run)
    index = opened.index
    if not 0 <= latent < index.d_sae:
        raise NoSuchPage(
            f"There is no latent {latent} in run {run!r}.",
            f"a number from 0 to {index.d_sae - 1}",
            "choose one of these.",
        )
    record, windows = index.record(latent), Windows(index, latent, opened.texts)
    explanation = reading.explanation(index, latent)
    scores = reading.scores(index, explanation) if explanation else []
    return FeaturePage(
        title=f"{run} / {latent}",
        run=run,
        latent=latent,
        previous=(latent - 1) % index.d_sae,
        next=(latent + 1) % index.d_sae,
        control=control_of(reading, run),
        hook=index.sites.names()["hook"],
        flags=flags_of(index, latent),
        dead=record.dead,
        density=record.density,
        max=float(index.table["max"][latent]),
        n_tokens=index.n_tokens_total,
        explanation=explanation,
        scores=scores,
        definitions=reading.definitions(scores),
        statistics=record.statistics,
        histogram=record.histogram,
        top=[windows.view(example) for example in record.top],
        intervals=_intervals(record, windows),
        logits_top=_tokens(opened.texts, record.logits_top),
        logits_bottom=_tokens(opened.texts, record.logits_bottom),
        logits_note=index.manifest.notes["logits"],
        neighbours=_neighbours(reading, index, record),
        provenance=_provenance(index),
    )


def _intervals(record: FeatureRecord, windows: Windows) -> list[IntervalView]:
    return [
        IntervalView(low=i.low, high=i.high, n=i.n, examples=[windows.view(example) for example in i.examples])
        for i in record.intervals
    ]


def _neighbours(reading: Reading, index: FeatureIndex, record: FeatureRecord) -> list[NeighbourView]:
    entries = reading.entries(index)
    return [
        NeighbourView(latent=n.latent, cosine=n.cosine, title=entries.get(n.latent, UNEXPLAINED).title)
        for n in record.neighbours
    ]


def _tokens(texts: TokenTexts, effects: list[TokenEffect]) -> list[TokenView]:
    return [TokenView(token=e.token, text=texts.label(e.token), value=e.value) for e in effects]


def _provenance(index: FeatureIndex) -> dict[str, str]:
    """Ids of all it came from; the mask in words."""
    manifest = index.manifest
    masks = ", ".join(f"{count(n)} {name.replace('_', ' ')}" for name, n in manifest.notes["masks"].items())
    return {
        "index": index.id,
        **manifest.inputs,
        "sparselex": manifest.code_version,
        **index.sites.names(),
        "tokens counted": ", ".join(f"{split} {count(n)}" for split, n in index.n_tokens.items()),
        "tokens left out": masks or "none",
    }
