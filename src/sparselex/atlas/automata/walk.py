"""Look for finite-state automata in an index: the stream of each split, leads chosen and confirmed, circles of them,
what a shuffled text gives. After the automata of Bricken et al. (2023), "Towards Monosemanticity", which were put
together by hand; the paper gives no algorithm."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.automata.chosen import Chosen, Confirmed, chosen, confirmed, looked_at
from sparselex.atlas.automata.config import AutomataConfig
from sparselex.atlas.automata.figures import figures_of
from sparselex.atlas.automata.graph import Circle, circles, merged
from sparselex.atlas.automata.leads import by_token_alone, carriers, token_means
from sparselex.atlas.automata.records import (
    FILE,
    KIND,
    Arrow,
    Automata,
    Automaton,
    Carrier,
    Lead,
    Raised,
    Source,
    State,
    Threshold,
)
from sparselex.atlas.automata.stream import Stream, stream_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.staging import stage
from sparselex.features.index import FeatureIndex

_CARRIERS = 5
"""Tokens that are told of each lead."""


def find_automata(index: FeatureIndex, config: AutomataConfig, to: Path, inputs: Mapping[str, str]) -> None:
    """Write the artifact `to`. Raises `UserError` for an index that keeps a sample of activations, and for one that
    knows of no token that a latent raises."""
    index.check_whole("looking for automata")
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        raised, which = raised_tokens(index, config.n_tokens_raised)
        train, test = (stream_of(index, split, config.most_tokens) for split in ("train", "test"))
        directions = index.directions
        found = automata_of(train, test, raised, which, len(index.corpus.vocabulary), config, directions)
        write_json(staging.folder / FILE, found.to_json())
        Figures(figures=found.figures).write(staging.folder)
        staging.finish()


def raised_tokens(index: FeatureIndex, n: int) -> tuple[NDArray[np.integer], Raised]:
    """`[d_sae, n]`, tokens that each latent raises, -1 where there are fewer, and by what. Raises `UserError` where
    neither logit effects nor following tokens are known."""
    if index.all_promoted is not None:
        return np.asarray(index.all_promoted[:, :n]), "logits"
    if index.relations.following is not None:
        return np.asarray(index.relations.following[:, :n]), "following"
    raise UserError(
        f"The index {index.path} knows neither logit effects nor what follows its latents.",
        "an index that knows which tokens a latent raises",
        "run `sparselex index` without --no-store.",
    )


def automata_of(
    train: Stream,
    test: Stream,
    raised: NDArray[np.integer],
    which: Raised,
    n_vocab: int,
    config: AutomataConfig,
    directions: NDArray | None = None,
) -> Automata:
    """What is found in two streams. `raised` is `[d_sae, n]`; `directions`, `[d_sae, d]`, by which duplicates are told
    beside their activations, may be missing."""
    found = chosen(looked_at(train, raised, n_vocab, config, "train"), config)
    sure = confirmed(found, looked_at(test, raised, n_vocab, config, "test"), config)
    leads, order = sure.leads, np.argsort(-sure.leads.weight, kind="stable")
    alone = by_token_alone(sure.split.known, sure.split.hits, leads, found.scale, token_means(train, n_vocab))
    records = _records(found, sure, alone, order[: config.most_kept])
    drawn = circles(leads, config.most_states)
    automata = [*_of_circles(drawn, records, train, directions, config), *_loops(drawn, records)]
    automata.sort(key=lambda one: (len(one.states) < 2, -one.strength))
    again, several = circles(found.shuffled, config.most_states), [one for one in automata if len(one.states) > 1]
    counts = {
        "automata": len(several),
        "latents": sum(len(one.latents) for one in several),
        "shuffled automata": len(again),
        "shuffled latents": sum(len(one.latents) for one in again),
    }
    own = np.unique(leads.source)
    return Automata(
        raised=which,
        n_shuffles=config.n_shuffles,
        n_tokens={"train": len(train.tokens), "test": len(test.tokens)},
        n_sources=len(found.sources),
        n_targets=int(np.isfinite(found.scale).sum()),
        n_unsurprising=found.n_unsurprising,
        train=Threshold(weight=found.weight, surprise=found.surprise),
        test=Threshold(weight=sure.weight, surprise=sure.surprise),
        n_chosen=len(found.leads.source),
        unconfirmed=sure.unconfirmed,
        n_leads=len(leads.source),
        figures=figures_of(found, sure, counts, alone),
        automata=[one.model_copy(update={"number": number}) for number, one in enumerate(automata)],
        leads=list(records.values()),
        sources={latent: Source(train=_share(found, latent), test=_share(sure, latent)) for latent in map(int, own)},
    )


def _share(looked: Chosen | Confirmed, latent: int) -> float:
    split = looked.split
    return float(split.pairs[latent] / max(1, split.n_places[latent]))


def _records(found: Chosen, sure: Confirmed, alone: NDArray, order: NDArray) -> dict[tuple[int, int], Lead]:
    """The confirmed leads in this order."""
    leads, train, hits = sure.leads, found.split, found.split.hits
    told = dict[tuple[int, int], list[tuple[int, float]]]()
    kept = leads.of(order)
    for source in np.unique(kept.source):
        targets = kept.target[kept.source == source]
        by = carriers(train.known.stream, hits, int(source), targets, _CARRIERS)
        told |= {(int(source), int(target)): one for target, one in zip(targets, by, strict=True)}
    records = dict[tuple[int, int], Lead]()
    for number in order:
        pair = int(leads.source[number]), int(leads.target[number])
        records[pair] = Lead(
            source=pair[0],
            target=pair[1],
            train=float(leads.weight[number]),
            test=float(sure.test[number]),
            token_alone=float(alone[number]),
            n_train=int(train.pairs[pair[0]]),
            n_test=int(sure.split.pairs[pair[0]]),
            carriers=[Carrier(token, share) for token, share in told[pair]],
        )
    return records


def _of_circles(
    found: Sequence[Circle],
    records: Mapping[tuple[int, int], Lead],
    train: Stream,
    directions: NDArray | None,
    config: AutomataConfig,
) -> list[Automaton]:
    made = []
    n_active = np.diff(train.by_latent.indptr)
    for circle in found:
        same = merged(_alike(circle.latents, train, directions, config.duplicates_from))
        states = [sorted(circle.latents[one].tolist(), key=lambda latent: -n_active[latent]) for one in same]
        made.append(_automaton(states, records, circle.strength))
    return made


def _loops(found: Sequence[Circle], records: Mapping[tuple[int, int], Lead]) -> list[Automaton]:
    """Latents that lead to themselves and are in no circle."""
    inside = {int(latent) for circle in found for latent in circle.latents}
    own = [lead for lead in records.values() if lead.source == lead.target and lead.source not in inside]
    return [_automaton([[lead.source]], records, lead.train) for lead in own]


def _automaton(states: list[list[int]], records: Mapping[tuple[int, int], Lead], strength: float) -> Automaton:
    arrows = []
    for source, own in enumerate(states):
        for target, others in enumerate(states):
            there = [records[pair] for pair in ((a, b) for a in own for b in others) if pair in records]
            if there:
                best = max(there, key=lambda lead: lead.train)
                arrows.append(Arrow(source=source, target=target, lead=best))
    return Automaton(number=0, states=[State(latents=one) for one in states], arrows=arrows, strength=strength)


def _alike(latents: NDArray[np.int64], train: Stream, directions: NDArray | None, least: float) -> NDArray[np.bool_]:
    """`[n, n]`, which of some latents are duplicates: by their directions, or by their activations (Pearson)."""
    acts, n = train.by_latent[latents], len(train.tokens)
    mean = np.asarray(acts.mean(1), dtype=np.float64).ravel()
    covariance = (acts @ acts.T).toarray() / n - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-30))
    found = covariance / np.outer(spread, spread) >= least
    if directions is not None:
        rows = directions[latents].astype(np.float64)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        found |= rows @ rows.T >= least
    np.fill_diagonal(found, True)
    return found
