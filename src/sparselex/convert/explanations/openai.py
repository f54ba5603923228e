"""Explanations as OpenAI's neuron explainer has them (`explanations/<layer>/<neuron>.jsonl`): a record of one neuron
with explanations that were scored by simulation."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sparselex.base.errors import UserError
from sparselex.convert.checked import Row
from sparselex.convert.explanations.numbers import latent_of
from sparselex.convert.explanations.rows import rows_in
from sparselex.convert.explanations.told import (
    LeftOut,
    Ours,
    OurSet,
    OurSimulation,
    ReadExplanations,
    Told,
    ToldScore,
)

FORMAT = "openai"

DEFINITION = (
    "a score of OpenAI's simulation, as its file says: the best of several explanations may have been chosen by it"
)

_MEASURES = ("ev_correlation_score", "rsquared_score", "absolute_dev_explained_score")
_FILE = re.compile(r"\d{1,9}\.jsonl?", re.ASCII)


def files_of(source: Path) -> list[Path]:
    """The files of neurons in a folder of one layer, or below it."""
    found = [path for path in source.glob("**/*.json*") if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: (str(path.parent), int(path.name.partition(".")[0])))


def claims(row: Row) -> bool:
    """Whether a row is of this layout."""
    return "scored_explanations" in row.values and "neuron_id" in row.values


def read(files: list[Path]) -> ReadExplanations:
    """Read all neurons of these files. Raises `UserError` for what is damaged, and for neurons of several layers."""
    told, layers = list[Told](), dict[int, str]()
    for path in files:
        for row in rows_in(path):
            neuron = Row(row.values.get("neuron_id"), f"{row.where}, neuron_id")
            layers.setdefault(neuron.whole("layer_index", 0), row.where)
            told += [_told(one, latent_of(neuron, "neuron_index")) for one in row.rows("scored_explanations")]
    if len(layers) > 1:
        raise UserError(
            f"{files[0].parent.parent} holds neurons of the layers {', '.join(map(str, sorted(layers)))}.",
            "neurons of one layer, which is what a run reads",
            "give the folder of one layer.",
        )
    return ReadExplanations(FORMAT, told, LeftOut(), files)


def _told(row: Row, latent: int) -> Told:
    scored = Row(row.values.get("scored_simulation") or {}, f"{row.where}, scored_simulation")
    n = sum(len(one.numbers("true_activations")) for one in scored.rows("scored_sequence_simulations"))
    # Where the activations are all 0 there is no correlation: their files then have null, or NaN.
    given = {name: scored.values.get(name) for name in _MEASURES}
    scores = [ToldScore("simulation", name, scored.number(name), n) for name, v in given.items() if not _is_absent(v)]
    return Told(latent=latent, text=row.text("explanation"), scores=tuple(scores))


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def written(
    explanations: list[Ours], of: OurSet, simulated: Callable[[Ours], list[OurSimulation]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(file, record)` of each neuron with all that is said of it; `simulated` gives the windows on which it was."""
    by_latent: dict[int, list[Ours]] = {}
    for one in explanations:
        by_latent.setdefault(one.latent, []).append(one)
    for latent, said in by_latent.items():
        neuron = {"dataclass_name": "NeuronId", "layer_index": of.layer, "neuron_index": latent}
        scored = [_scored(one, simulated(one)) for one in said]
        record = {"dataclass_name": "NeuronSimulationResults", "neuron_id": neuron, "scored_explanations": scored}
        yield f"{of.layer}/{latent}.jsonl", record


def _scored(one: Ours, windows: list[OurSimulation]) -> dict[str, Any]:
    """Its score is the correlation of a simulation with the activations on the windows that were judged; where no judge
    simulated a rule, the rule's on all held-out tokens, which the other is an estimate of."""
    found = {score.scorer: score.value for score in one.scores if score.metric == "correlation"}
    simulation: dict[str, Any] = {
        "dataclass_name": "ScoredSimulation",
        "scored_sequence_simulations": [_sequence(window) for window in windows],
        **dict.fromkeys(_MEASURES),
        "ev_correlation_score": found.get("simulation", found.get("exact")),
    }
    return {"dataclass_name": "ScoredExplanation", "explanation": one.text, "scored_simulation": simulation}


def _sequence(window: OurSimulation) -> dict[str, Any]:
    """A window as a rule foretells it: one value for each token, and so no distributions."""
    simulation: dict[str, Any] = {
        "dataclass_name": "SequenceSimulation",
        "tokens": window.tokens,
        "expected_activations": window.expected,
        "activation_scale": "neuron_activations",
        "distribution_values": [],
        "distribution_probabilities": [],
        "uncalibrated_simulation": None,
    }
    return {
        "dataclass_name": "ScoredSequenceSimulation",
        "simulation": simulation,
        "true_activations": window.activations,
        **dict.fromkeys(_MEASURES),
        "ev_correlation_score": _correlation(window.expected, window.activations),
    }


def _correlation(said: list[float], true: list[float]) -> float | None:
    """Pearson's; None where one of them does not vary, which their files have as null."""
    if min(said) == max(said) or min(true) == max(true):
        return None
    return float(np.corrcoef(said, true)[0, 1])
