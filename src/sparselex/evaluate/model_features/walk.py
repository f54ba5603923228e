"""The model-feature card of a run's dictionary: one measurement after another, each kept when it is done."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from sparselex.activations.live import Reader
from sparselex.base.artifacts import record_of
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.files import checksum, make_folder, write_file, write_json
from sparselex.base.intervals import LEAST_DOCUMENTS
from sparselex.base.sites import Hook
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.model_features.asked import Asked, Into, Other
from sparselex.evaluate.model_features.attributed import attribution
from sparselex.evaluate.model_features.composition import composition
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.config import Part as PartName
from sparselex.evaluate.model_features.doses import doses
from sparselex.evaluate.model_features.errors import errors
from sparselex.evaluate.model_features.jacobian import jacobians
from sparselex.evaluate.model_features.plateau import plateau
from sparselex.evaluate.model_features.read import relevance
from sparselex.evaluate.model_features.records import FILE, KIND, ModelFeatures, Part, Relevance
from sparselex.evaluate.model_features.sensitivity import sensitivity
from sparselex.evaluate.model_features.stability import stability
from sparselex.evaluate.model_features.tokens import token_entropy
from sparselex.lm.subject import SubjectModel

_PARTS: Mapping[PartName, Callable[[Asked], Part]] = {
    "sensitivity": sensitivity,
    "plateau": plateau,
    "errors": errors,
    "attribution": attribution,
    "dose": doses,
    "composition": composition,
    "tokens": token_entropy,
    "jacobians": jacobians,
}
"""What each measurement is, in the order of the card."""

_FOLDER = "parts"

Found = TypeVar("Found", bound=Part)


@torch.no_grad()
def model_features(
    model: SubjectModel,
    reader: Reader,
    hook: Hook,
    dictionary: Dictionary,
    config: ModelFeaturesConfig,
    to: Path,
    *,
    inputs: Mapping[str, str],
    others: Mapping[str, Other] | None = None,
    into: Into | None = None,
) -> ModelFeatures:
    """Measure how far a dictionary that writes at `hook` is one of the model, and leave the card as the artifact `to`;
    unchanged work is not done again, and a killed measurement goes on with the part that it was in. `others` are other
    dictionaries of the same sites, by their runs; `into` is one of a later site of the same token.

    Raises `UserError` for a model without gradients, a site that nothing reads, a dictionary that is never active, and
    for fewer than five documents, or ten tokens for each dimension, to test on.
    """
    with stage(to, KIND, config, inputs, resumes=True) as staging:
        if not staging.made:
            asked = Asked.of(model, reader, hook, dictionary, config, others, into)
            make_folder(staging.folder / _FOLDER)
            first = _kept(staging.folder, "relevance", Relevance, relevance, asked)
            parts = [_kept(staging.folder, name, Part, made, asked) for name, made in _asked_for(config)]
            if "stability" in config.parts:
                parts.append(_kept(staging.folder, "stability", Part, partial(stability, read=first), asked))
            found = _card(first, parts, asked.documents.n_effective)
            write_json(staging.folder / FILE, found.to_json())
            Figures(figures=found.figures, controls=found.controls).write(staging.folder)
            staging.finish(files=dict.fromkeys([FILE, FIGURES]))
    return record_of(ModelFeatures, to, FILE)


def _asked_for(config: ModelFeaturesConfig) -> list[tuple[PartName, Callable[[Asked], Part]]]:
    return [(name, made) for name, made in _PARTS.items() if name in config.parts]


def _kept(folder: Path, name: str, record: type[Found], made: Callable[[Asked], Found], asked: Asked) -> Found:
    """One measurement, made or as an earlier start left it; made again where that is not as it was written."""
    path, sums = folder / _FOLDER / f"{name}.json", folder / _FOLDER / f"{name}.sha256"
    if not (path.exists() and sums.exists() and sums.read_text("ascii", "replace") == checksum(path)):
        write_json(path, made(asked).to_json())
        write_file(sums, checksum(path).encode())
    return record.from_file(path)


def _card(first: Relevance, parts: list[Part], n_documents: float) -> ModelFeatures:
    measured: dict[int, dict[str, float]] = {}
    for part in parts:
        for name, values in part.measured.items():
            for latent, value in values.items():
                measured.setdefault(latent, {})[name] = value
    controls = {name: list(figures) for name, figures in first.controls.items()}
    for part in parts:
        for name, figures in part.controls.items():
            controls.setdefault(name, []).extend(figures)
    return ModelFeatures(
        n_tokens=first.n_tokens,
        n_documents=first.n_documents,
        n_effective=n_documents,
        n_read=first.n_read,
        width=first.width,
        unread_below=first.unread_below,
        figures=_known([*first.figures, *(figure for part in parts for figure in part.figures)], n_documents),
        controls={name: _known(figures, n_documents) for name, figures in controls.items()},
        latents=[one.model_copy(update={"measured": measured.get(one.latent, {})}) for one in first.latents],
        curves=[curve for part in parts for curve in part.curves],
        compared=[one for part in parts for one in part.compared],
    )


def _known(figures: list[Figure], n_documents: float) -> list[Figure]:
    """Figures with their intervals, of too few documents without: all of them were measured on the same ones, also
    those whose intervals are over latents, and what other documents would have said is not known."""
    if n_documents >= LEAST_DOCUMENTS:
        return figures
    said = f"no interval, with documents that count as {n_documents:.3g} of one size and {LEAST_DOCUMENTS:g} needed"
    words = lambda one: one.definition if said in one.definition else f"{one.definition}; {said}"
    none = dict.fromkeys(("ci_low", "ci_high", "se"))
    return [one.model_copy(update=none | {"definition": words(one)}) for one in figures]
