"""Neurons as OpenAI's neuron explainer has them (Bills et al. 2023; `collated-activations/<layer>/<neuron>.json`): a
record of one neuron with the texts on which it is most active, and with texts drawn at random."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparselex.base.errors import UserError
from sparselex.convert.checked import Row
from sparselex.convert.dashboard import Dashboard, DashboardExample, DashboardSet
from sparselex.convert.explanations.numbers import latent_of
from sparselex.convert.explanations.rows import whole_json

FORMAT = "openai"

_FILE = re.compile(r"\d{1,9}\.json", re.ASCII)

_TOP, _RANDOM, _BY_QUANTILE = "most_positive_activation_records", "random_sample", "random_sample_by_quantile"
_USED = ("dataclass_name", "neuron_id", _TOP, _RANDOM, _BY_QUANTILE)


def record_files(source: Path) -> list[Path]:
    """The files of neurons: `source` itself where it is called as one, or those in a folder and below it."""
    if source.is_file():
        return [source] if _FILE.fullmatch(source.name) else []
    found = [path for path in source.glob("**/*.json") if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: (str(path.parent), int(path.stem)))


def read_records(files: list[Path]) -> tuple[DashboardSet, list[Dashboard], dict[str, int]]:
    """What the neurons of these files have in common, each of them, and what else the files say and how often.

    Raises `UserError` for what is damaged, and for neurons of several layers.
    """
    left_out, layers, found = Counter[str](), dict[int, Path](), list[Dashboard]()
    for path in files:
        row = Row(whole_json(path), str(path))
        neuron = Row(row.values.get("neuron_id"), f"{path}, neuron_id")
        layers.setdefault(neuron.whole("layer_index", 0), path)
        found.append(_dashboard(row, latent_of(neuron, "neuron_index")))
        left_out.update(name for name, value in _unused(row).items() if not isinstance(value, int | float))
    if len(layers) > 1:
        first, second = list(layers)[:2]
        raise UserError(
            f"{layers[first]} is of layer {first}, and {layers[second]} of layer {second}.",
            "neurons of one layer, which is what a run reads",
            "give the folder of one layer.",
        )
    # The files name neither the model nor the text.
    of = DashboardSet(
        model="not named", layer=next(iter(layers)), name="neurons", n_prompts=0, n_prompt_tokens=0, dataset=""
    )
    return of, found, dict(left_out)


def _dashboard(row: Row, number: int) -> Dashboard:
    if _TOP not in row.values and _RANDOM not in row.values:
        raise row.wrong(_TOP, "missing", "a record of a neuron, with the texts on which it is most active")
    examples = list(_examples(row))
    largest = max((value for one in examples for value in one.values), default=0.0)
    moments = {name: value for name, value in _unused(row).items() if isinstance(value, int | float)}
    return Dashboard(latent=number, density=None, largest=largest, examples=examples, others=moments)


def _examples(row: Row) -> Iterator[DashboardExample]:
    """The largest activations, then what was drawn from all texts and from ranges of them."""
    for one in row.rows(_TOP):
        yield _example(one, -1.0, -1.0)
    for one in row.rows(_RANDOM):
        yield _example(one, 0.0, 1.0)
    for number, group in enumerate(_groups(row)):
        for one in Row({_RANDOM: group}, f"{row.where}, {_BY_QUANTILE} {number}").rows(_RANDOM):
            yield _example(one, 0.0, 1.0)


def _groups(row: Row) -> list[Any]:
    found = row.values.get(_BY_QUANTILE) or []
    if not isinstance(found, list):
        raise row.wrong(_BY_QUANTILE, found, "a list of lists of records")
    return found


def _example(row: Row, low: float, share: float) -> DashboardExample:
    tokens, values = row.texts("tokens"), row.numbers("activations")
    if len(tokens) != len(values):
        raise row.wrong("activations", len(values), f"as many as tokens, {len(tokens)}")
    place = max(range(len(values)), key=values.__getitem__, default=-1)
    return DashboardExample(tokens, values, place, low, max(values, default=0.0), share)


def _unused(row: Row) -> dict[str, Any]:
    """The fields that are not read by name and say something."""
    return {name: value for name, value in row.values.items() if name not in _USED and not _is_absent(value)}


def _is_absent(value: Any) -> bool:
    """Whether a field says nothing: of moments that were not measured their files have null, or NaN."""
    return value in (None, [], "") or (isinstance(value, float) and not math.isfinite(value))
