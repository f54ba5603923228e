"""The artifacts: what was found of the shipped concepts, and of one that a person has looked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sparselex.atlas.proxies.config import HowMeasured, Looked, ProxiesConfig
from sparselex.atlas.proxies.measures import mean_of, places_of, strongest
from sparselex.atlas.proxies.moments import Together
from sparselex.atlas.proxies.proxy import Proxy
from sparselex.atlas.proxies.records import (
    FILE,
    FOUND,
    FOUND_FILE,
    KIND,
    Carrier,
    ConceptFound,
    ProxiesFound,
    SampledFeature,
)
from sparselex.atlas.proxies.scripts import ScriptProxy, scripts_in
from sparselex.atlas.proxies.shipped import PROXIES, SCRIPT, proxy_of
from sparselex.atlas.proxies.walk import (
    N_PLACES,
    Beside,
    Scored,
    Texts,
    found_of,
    judged,
    judged_carrier,
    scored,
    texts_of,
)
from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.features.index import FeatureIndex

SPECIFIC = 0.9
"""Specificity at high activation from which a feature is told to be of a concept."""

_OF_EACH = ("specificity_high", "sensitivity")
"""Measures of each concept that the report takes up; the page has the others."""


def write_proxies(
    index: FeatureIndex, run: str, config: ProxiesConfig, to: Path, inputs: Mapping[str, str], beside: Beside
) -> None:
    """Write the artifact `to`: the features that carry each concept that is asked for. Raises `UserError` for the name
    of a proxy that there is not, where none occurs in the text, and like `walk.texts_of`."""
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        texts = texts_of(index)
        concepts, left_out = _occurring(index, texts, config)
        if not concepts:
            raise UserError(
                f"None of the concepts occurs in the text: {'; '.join(f'{n}: {why}' for n, why in left_out.items())}.",
                f"one with {config.least_train} training tokens and {config.least_test} test tokens",
                "ask for others with --proxies, or lower --least-train and --least-test.",
            )
        each, every = found_of(index, concepts, config, beside)
        order = sorted(range(len(each)), key=lambda place: -_worth(each[place]))
        found = ProxiesFound(
            run=run,
            n_latents=int((every.n_active >= config.least_active).sum()),
            n_train=len(index.counted_tokens("train")),
            n_test=len(index.counted_tokens("test")),
            figures=_together(each),
            concepts=[each[place] for place in order],
            left_out=left_out,
            sampled=_sampled(index, concepts, every, config),
        )
        write_json(staging.folder / FILE, found.to_json())
        of_each = [one.figure(name) for one in found.concepts for name in _OF_EACH]
        Figures(figures=[*found.figures, *of_each]).write(staging.folder)
        staging.finish()


def write_concept(
    index: FeatureIndex,
    name: str,
    proxy: Proxy,
    config: HowMeasured,
    to: Path,
    inputs: Mapping[str, str],
    beside: Beside,
) -> None:
    """Write the artifact `to`: the features that carry one concept. Raises `UserError` where it does not occur in the
    training or the test documents, and like `walk.scored`."""
    # Looked for first: what cannot be found leaves not even a folder.
    texts = texts_of(index)
    concept = scored(index, texts, name, proxy)
    _check_occurs(index, concept)
    (found,), _ = found_of(index, [concept], config, beside)
    with stage(to, FOUND, Looked(rule=dict(proxy.to_json()), how=config), inputs) as staging:
        if staging.made:
            return
        write_json(staging.folder / FOUND_FILE, found.to_json())
        Figures(figures=found.figures).write(staging.folder)
        staging.finish()


def _check_occurs(index: FeatureIndex, concept: Scored) -> None:
    n_train, n_test = len(concept.train.ranks), len(concept.test.ranks)
    if n_train and n_test:
        return
    n_tokens = [len(index.counted_tokens(split)) for split in ("train", "test")]
    raise UserError(
        f"{concept.proxy.words[0].upper()}{concept.proxy.words[1:]}: {n_train:,} of {n_tokens[0]:,} training tokens "
        f"and {n_test:,} of {n_tokens[1]:,} test tokens that were indexed.",
        "a concept that occurs in both: by the first its features are chosen, by the second they are judged",
        "write it more widely, or index more text. Text is searched as it is written in the documents: upper and lower "
        "case are told apart, and (?i) in front of an expression takes them for the same. Of examples more is found "
        "with a larger --prior.",
    )


def _occurring(index: FeatureIndex, texts: Texts, config: ProxiesConfig) -> tuple[list[Scored], dict[str, str]]:
    """The concepts that occur often enough, and why others are left out."""
    named: dict[str, Proxy] = {name: proxy_of(name) for name in config.proxies}
    if not named:
        named = dict(PROXIES.items())
        named |= {f"{SCRIPT}{name.lower()}": ScriptProxy(script=name) for name in scripts_in(texts.train)}
    concepts, left_out = list[Scored](), dict[str, str]()
    with progress("proxies", len(named), "proxies") as bar:
        for name, proxy in named.items():
            one = scored(index, texts, name, proxy)
            bar.advance(1)
            n_train, n_test = len(one.train.ranks), len(one.test.ranks)
            if n_train < config.least_train or n_test < config.least_test:
                left_out[name] = f"{n_train:,} training and {n_test:,} test tokens"
            else:
                concepts.append(one)
    return concepts, left_out


def _worth(one: ConceptFound) -> float:
    """How much more the best feature tells of it than what it is held against."""
    beside = [*([one.neuron] if one.neuron else []), *one.twins.values(), *one.by_chance]
    return _told(one.carriers[0]) - max(map(_told, beside), default=0.0)


def _told(one: Carrier) -> float:
    return (one.specificity_high or 0.0) * (one.sensitivity or 0.0)


def _together(each: Sequence[ConceptFound]) -> list[Figure]:
    """Figures of all concepts, each by its best feature."""
    beside = {"neuron": [one.neuron for one in each]}
    for name in each[0].twins:
        beside[name] = [one.twins.get(name) for one in each]
    what = "the latent whose activation correlates most with each concept on training tokens"
    null = "null: the concept moved along the text, its latent chosen anew"
    found = []
    for name, words, of in (
        (
            "specific_share",
            f"share of concepts for which {what} has a specificity at high activation above {SPECIFIC:g}",
            _is_specific,
        ),
        ("specificity_high", f"mean over concepts of the specificity at high activation of {what}", _specificity_high),
        ("sensitivity", f"mean over concepts of the correlation of score and activation of {what}", _sensitivity),
    ):
        values = [of(one.carriers[0]) for one in each]
        chance = mean_of([of(shifted) for one in each for shifted in one.by_chance])
        figure = mean_figure(
            f"proxies/{name}",
            np.array([value for value in values if value is not None], dtype=bool if of is _is_specific else float),
            f"{words}; {null}",
            over="concepts",
            null=chance,
            better="higher",
            empty="no feature is highly active on a test token",
        )
        controls = {key: mean_of([of(one) for one in those if one is not None]) for key, those in beside.items()}
        known = {key: value for key, value in controls.items() if value is not None}
        found.append(figure.model_copy(update={"controls": known}))
    return found


def _is_specific(one: Carrier) -> float | None:
    return float((one.specificity_high or 0.0) > SPECIFIC)


def _specificity_high(one: Carrier) -> float | None:
    return one.specificity_high


def _sensitivity(one: Carrier) -> float | None:
    return one.sensitivity


def _sampled(
    index: FeatureIndex, concepts: Sequence[Scored], every: Together, config: ProxiesConfig
) -> list[SampledFeature]:
    """Features drawn at random, each with the concept that it correlates with most."""
    alive = np.flatnonzero(every.n_active >= config.least_active)
    rng = generator(config.seed, "sampled features")
    found, tokens = list[SampledFeature](), index.counted_tokens("test")
    for latent in rng.choice(alive, min(config.n_sampled, len(alive)), replace=False).tolist():
        place = int(every.correlation[latent, : len(concepts)].argmax())
        column = judged(index, latent, every).column
        top = strongest(column, tokens.positions, index.corpus.n_ctx, N_PLACES)
        found.append(
            SampledFeature(
                concept=concepts[place].name,
                carrier=judged_carrier(index, latent, every, place, concepts[place].test),
                strongest=places_of(column.ranks[top], column.values[top], concepts[place].scores, tokens.positions),
            )
        )
    return found
