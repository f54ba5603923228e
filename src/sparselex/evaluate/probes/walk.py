"""Probe a dictionary: from texts whose concepts are known to what is at its site, to sparse probes, SCR, TPP and RAVEL,
each beside the same of what nothing was trained for."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sparselex.base.figures import Failure, Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.formats import counted
from sparselex.base.progress import progress
from sparselex.base.seeds import derive, generator
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.probes.asked import Asked, Fold, asked_of, fold, units_of
from sparselex.evaluate.probes.code import code_tokens, read_code
from sparselex.evaluate.probes.coded import Columns, Judged, Site, coordinates, latents_of, read_texts
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.logistic import Floats
from sparselex.evaluate.probes.ravel import ravel
from sparselex.evaluate.probes.records import (
    FILE,
    KIND,
    LATENTS,
    NOTHING,
    SUPERVISED,
    Ablations,
    Concept,
    Probed,
)
from sparselex.evaluate.probes.scr import scr
from sparselex.evaluate.probes.sparse import headlines, probe, too_few
from sparselex.evaluate.probes.tpp import tpp
from sparselex.tasks.code_concepts import CODE_CROSSED
from sparselex.tasks.concepts import SETS, ConceptSet, LabelledText
from sparselex.text.corpus import TokenCorpus

CODE = "code"
"""Texts of the run itself."""


class Controls(NamedTuple):
    """Runs that are controls of the one that is judged, by name."""

    here: Mapping[str, Dictionary]
    """At the same site of the same model."""

    elsewhere: Mapping[str, Judged]
    """Of a model with other weights."""


def probe_dictionary(
    judged: Judged,
    controls: Controls,
    corpus: TokenCorpus,
    config: ProbesConfig,
    to: Path,
    *,
    inputs: Mapping[str, str],
) -> Probed:
    """Measure all that is asked for, and leave it as the artifact `to`. What is done is not done again."""
    with stage(to, KIND, config, inputs) as staging:
        if staging.made is None:
            found = _measured(judged, controls, corpus, config)
            write_json(staging.folder / FILE, found.to_json())
            _figures(found).write(staging.folder)
            staging.finish()
    return Probed.read(to)


class Found(NamedTuple):
    """What came out of one kind of texts."""

    concepts: list[Concept]
    ablations: list[Ablations]
    failures: list[Failure]


def _measured(judged: Judged, controls: Controls, corpus: TokenCorpus, config: ProbesConfig) -> Probed:
    parts = list[Found]()
    with progress("probing", 2 + len(SETS), "kinds of texts") as bar:
        for measure in (partial(_of_code, corpus), *(partial(_of_set, one) for one in SETS)):
            parts.append(measure(judged, controls, config))
            bar.advance(1)
        exchanged, unknown = ravel(judged, config)
    return Probed(
        ravel=exchanged,
        concepts=[one for part in parts for one in part.concepts],
        ablations=[one for part in parts for one in part.ablations],
        failures=[*(one for part in parts for one in part.failures), *unknown],
    )


def _of_code(corpus: TokenCorpus, judged: Judged, controls: Controls, config: ProbesConfig) -> Found:
    """Concepts of source code at tokens of the run's own text."""
    tokens = code_tokens(corpus, config)
    failures = []
    if tokens.n_refused:
        said = "no Python, by Python's own tokenizer"
        failures.append(Failure(subject=f"{counted(tokens.n_refused, 'document')} of the run's text", reason=said))
    if not 0 < tokens.n_fit < len(tokens.positions):
        failures.append(Failure(subject=CODE, reason="no source code in the training or in the test split"))
        return Found([], [], failures)
    whole = read_code(judged, corpus, tokens, config.batch_rows)
    inside = judged.within(whole.values)
    failures += _left_out(CODE, int((~inside).sum()))
    tokens, n = tokens.of(inside.numpy()), int(inside.sum())
    site = Site(whole.values[inside], torch.arange(n), n)
    columns = coordinates(site, {LATENTS: judged.dictionary, **controls.here}, _draws(config, CODE))
    more = {
        name: latents_of(other.dictionary, read_code(other, corpus, tokens, config.batch_rows))
        for name, other in controls.elsewhere.items()
    }
    x, asked = site.pooled(), tokens.asked()
    concepts, unmeasured = _probed(CODE, list(asked.values()), x, columns | more, config)
    ablations = list[Ablations]()
    if not unmeasured:
        ablations.append(tpp(CODE, "kind", list(tokens.kinds().values()), x, columns, config))
        ablations += _both_ways(CODE, asked[CODE_CROSSED[0]], asked[CODE_CROSSED[1]], x, columns, config)
    return Found(concepts, ablations, failures + unmeasured)


def _of_set(one: ConceptSet, judged: Judged, controls: Controls, config: ProbesConfig) -> Found:
    """Concepts of texts that are made here."""
    chance = generator(config.seed, "texts", one.name)
    texts = [one.draw(chance) for _ in range(config.n_texts)]
    sentences = [text.text for text in texts]
    site = read_texts(judged, sentences, config.batch_rows)
    columns = coordinates(site, {LATENTS: judged.dictionary, **controls.here}, _draws(config, one.name))
    more = {
        name: latents_of(other.dictionary, read_texts(other, sentences, config.batch_rows))
        for name, other in controls.elsewhere.items()
    }
    x = site.pooled()
    asked = list(asked_of(texts, one.concepts, config.n_seeds, config.seed))
    concepts, failures = _probed(one.name, asked, x, columns | more, config)
    ablations = list(_ablations(one, texts, asked, x, columns, config))
    return Found(concepts, ablations, _left_out(one.name, site.n_left_out) + failures)


def _left_out(texts: str, n: int) -> list[Failure]:
    why = "left out: their norms are far from those of other tokens, and the dictionary was not trained on such"
    return [Failure(subject=f"{texts}: {counted(n, 'token')}", reason=why)] if n else []


def _probed(
    texts: str, asked: Sequence[Asked], x: Floats, columns: Mapping[str, Columns], config: ProbesConfig
) -> tuple[list[Concept], list[Failure]]:
    whys = {one.name: too_few(one) for one in asked}
    concepts = [probe(texts, one, x, columns, config.ks, config.seed) for one in asked if not whys[one.name]]
    return concepts, [Failure(subject=f"{texts}: {name}", reason=why) for name, why in whys.items() if why]


def _ablations(
    one: ConceptSet,
    texts: Sequence[LabelledText],
    asked: Sequence[Asked],
    x: Floats,
    columns: Mapping[str, Columns],
    config: ProbesConfig,
) -> Iterator[Ablations]:
    """TPP of every concept of several values, and SCR of two that are crossed, each against the other."""
    for concept, values in one.concepts.items():
        if len(values) > 2:
            those = [some for some in asked if some.name.startswith(f"{concept}: ")]
            yield tpp(one.name, concept, those, x, columns, config)
    if one.crossed:
        folds = [fold(texts, tuple(one.crossed), number, config.seed) for number in range(config.n_seeds)]
        first, second = (_binary(texts, name, values, folds) for name, values in one.crossed.items())
        yield from _both_ways(one.name, first, second, x, columns, config)


def _both_ways(
    texts: str, first: Asked, second: Asked, x: Floats, columns: Mapping[str, Columns], config: ProbesConfig
) -> list[Ablations]:
    """SCR of either of two concepts, bound to the other."""
    return [scr(texts, wanted, spurious, x, columns, config) for wanted, spurious in ((first, second), (second, first))]


def _binary(texts: Sequence[LabelledText], concept: str, values: Sequence[str], folds: Sequence[Fold]) -> Asked:
    has = np.array([text.values[concept] in values for text in texts])
    return Asked(concept, has, units_of(texts, concept), folds)


def _draws(config: ProbesConfig, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(config.seed, "random directions", purpose))


def _figures(found: Probed) -> Figures:
    """What the report takes up: means over concepts, and the score of each ablation in the middle of its range."""
    figures, controls = headlines(found.concepts)
    for one in found.ablations:
        name = f"probes/{one.metric}/{one.texts}_{one.name}".replace(", ", "_").replace(" ", "_")
        if one.failure:
            figures.append(Figure(name=name, definition=f"{one.metric.upper()} of {one.name}", failure=one.failure))
        ns = sorted({row.n for row in one.rows})
        for row in one.rows:
            if row.n == ns[(len(ns) - 1) // 2]:
                figure = row.score.model_copy(update={"name": name})
                (figures if row.name == LATENTS else controls.setdefault(row.name, [])).append(figure)
    for name, n, figure in _disentangled(found):
        figure = figure.model_copy(update={"name": f"probes/ravel/disentangled_at_{n}"})
        (figures if name == LATENTS else controls.setdefault(name, [])).append(figure)
    return Figures(figures=figures, controls=controls)


def _disentangled(found: Probed) -> Iterator[tuple[str, int, Figure]]:
    """RAVEL of every kind for each number that was exchanged; of what has no number, for every one of them."""
    rows = found.ravel.rows if found.ravel else []
    ns = sorted({row.n for row in rows if row.n})
    for row in rows:
        if row.name in (SUPERVISED, NOTHING) or row.n:
            yield from ((row.name, n, row.disentangled) for n in ([row.n] if row.n else ns))
