"""Other people's dashboards, read: a folder of SAEDashboard batches, of Neuronpedia's bulk layout, or of OpenAI's
neuron records.

No field is left out in silence: what has a word of ours becomes that, the rest of a feature is kept by its own name
(`Dashboard.others`), and what an example or an explanation says beside is counted (`Read.left_out`).
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.reading import json_file, parse_json, regular
from sparselex.convert.checked import Row
from sparselex.convert.dashboard import Bars, Dashboard, DashboardExample, DashboardExplanation, DashboardSet
from sparselex.convert.neurons import FORMAT, read_records, record_files

MOST_FEATURES, LONGEST_LINE = 1 << 20, 1 << 26
"""Numbers that a feature may have, and bytes of a line: beyond these a file is damaged, or no file of dashboards."""

_EXAMPLE = {
    "saedashboard": ("bin_min", "bin_max", "bin_contains", "qualifying_token_index"),
    "neuronpedia": ("binMin", "binMax", "binContains", "qualifyingTokenIndex"),
}
_NAMED = ("id", "index", "layer", "modelId", "maxValue", "maxValueTokenIndex", "minValue")
"""What follows from the place of a row and from the values themselves."""


class Read(NamedTuple):
    """What was read."""

    of: DashboardSet
    format: str
    """saedashboard, neuronpedia or openai."""

    dashboards: list[Dashboard]
    """By number."""

    left_out: dict[str, int]
    """What examples and explanations say beside, and how often."""


def read_dashboards(source: Path) -> Read:
    """Read a folder, or one file of a batch or a neuron. Raises `UserError` where there are no dashboards, where there
    are those of several dictionaries, and for files that are damaged."""
    records = record_files(source)
    batches = [source] if source.is_file() and not records else sorted(source.glob("*batch-*.json"))
    if batches:
        return _saedashboard(batches)
    homes = sorted({path.parent.parent for path in source.glob("**/features/batch-*.jsonl*")})
    if len(homes) == 1:
        return _neuronpedia(homes[0])
    if records and not homes:
        of, found, left_out = read_records(records)
        return Read(of, FORMAT, _by_number(found), left_out)
    holds = f"those of {len(homes)} dictionaries" if homes else "no dashboards"
    raise UserError(
        f"{source} holds {holds}.",
        "batch-<n>.json of SAEDashboard, or features/batch-<n>.jsonl.gz of Neuronpedia, of one dictionary, or "
        "<neuron>.json of OpenAI's neuron explainer, of one layer",
        f"give one folder, such as {homes[0]}." if homes else "check the path.",
    )


def _saedashboard(paths: list[Path]) -> Read:
    left_out, found, heads = Counter[str](), list[Dashboard](), list[tuple[str, int, str]]()
    seen: dict[str, Any] = {}
    for path in paths:
        batch = Row(_json(path), str(path))
        heads.append((batch.text("model_id"), batch.whole("layer"), batch.text("sae_set")))
        for row in batch.rows("features"):
            seen = row.values
            examples = [_example(one, "saedashboard", left_out) for one in row.rows("activations")]
            found.append(_feature(row, row.whole("feature_index"), examples, []))
    if len(set(heads)) != 1:
        raise UserError(
            f"{paths[0].parent} holds batches of several dictionaries: {sorted(set(heads))[:3]}.",
            "batches of one",
            "put those of each into a folder of its own.",
        )
    model, layer, name = heads[0]
    counts = Row(seen, str(paths[0]))
    prompts = counts.whole("n_prompts_total", 0), counts.whole("n_tokens_in_prompt", 0), counts.text("dataset", "")
    return Read(DashboardSet(model, layer, name, *prompts), "saedashboard", _by_number(found), dict(left_out))


def _neuronpedia(home: Path) -> Read:
    left_out, heads = Counter[str](), _heads(home)
    examples: dict[int, list[DashboardExample]] = {}
    for row in _lines(home, "activations"):
        examples.setdefault(_index(row), []).append(_example(row, "neuronpedia", left_out))
    said: dict[int, list[DashboardExplanation]] = {}
    for row in _lines(home, "explanations*"):
        said.setdefault(_index(row), []).append(_explanation(row, left_out))
    found, last = list[Dashboard](), Row({}, str(home))
    for last in _lines(home, "features"):
        number = _index(last)
        found.append(_feature(last, number, _in_groups(examples.pop(number, [])), said.pop(number, [])))
    for what, rest in (("activations", examples), ("explanations", said)):
        if rest:
            left_out[f"{what} of features that are not there"] += sum(map(len, rest.values()))
    source, source_row = last.text("layer"), Row(heads.get("source", {}), str(home / "source.jsonl"))
    layer, _, name = source.partition("-")
    return Read(
        DashboardSet(
            model=last.text("modelId"),
            layer=int(layer) if layer.isascii() and layer.isdecimal() else 0,
            name=name or source,
            n_prompts=source_row.whole("num_prompts", 0) or last.whole("n_prompts_total", 0),
            n_prompt_tokens=source_row.whole("num_tokens_in_prompt", 0) or last.whole("n_tokens_in_prompt", 0),
            dataset=source_row.text("dataset", "") or last.text("dataset", ""),
            hook=last.text("hookName", ""),
            others=heads,
        ),
        "neuronpedia",
        _by_number(found),
        dict(left_out),
    )


def _heads(home: Path) -> dict[str, Any]:
    """The rows that say what the dashboards are of, by the names of their files."""
    paths = {path.stem: path for path in sorted(home.glob("*.jsonl"))}
    return {name: _parsed(path.read_text(encoding="utf-8", errors="replace"), path) for name, path in paths.items()}


def _feature(row: Row, number: int, examples: list[DashboardExample], said: list[DashboardExplanation]) -> Dashboard:
    """A feature; the fields that have a word of ours are taken off, and the others kept as they are."""
    if not 0 <= number < MOST_FEATURES:
        raise row.wrong("the number of a feature", number, f"0 to {MOST_FEATURES - 1}")
    largest = max((abs(value) for one in examples for value in one.values), default=0.0)
    used = ("feature_index", "index", "activations", "frac_nonzero", "maxActApprox", "pos_str", "pos_values")
    bars = [f"{kind}_hist_data_bar_{part}" for kind in ("freq", "logits") for part in ("values", "heights")]
    names = (*used, "neg_str", "neg_values", *bars, "modelId", "layer", "n_prompts_total", "n_tokens_in_prompt")
    return Dashboard(
        latent=number,
        density=row.number("frac_nonzero", 0.0),
        largest=row.number("maxActApprox", largest),
        examples=examples,
        activations=_bars(row, "freq"),
        logits=_bars(row, "logits"),
        raised=_pairs(row, "pos"),
        lowered=_pairs(row, "neg"),
        explanations=said,
        others={name: value for name, value in row.values.items() if name not in names and value not in (None, "", [])},
    )


def _bars(row: Row, kind: str) -> Bars:
    centres, counts = row.numbers(f"{kind}_hist_data_bar_values"), row.numbers(f"{kind}_hist_data_bar_heights")
    if len(centres) != len(counts):
        raise row.wrong(f"{kind}_hist_data_bar_values", len(centres), f"as many as heights, {len(counts)}")
    if any(count < 0 for count in counts) or centres != sorted(centres):
        raise row.wrong(f"{kind}_hist_data_bar_heights", counts[:3], "counts of bins, the least bin first")
    return Bars(centres, [round(count) for count in counts])


def _pairs(row: Row, kind: str) -> tuple[list[str], list[float]]:
    texts, values = row.texts(f"{kind}_str"), row.numbers(f"{kind}_values")
    if len(texts) != len(values):
        raise row.wrong(f"{kind}_str", len(texts), f"as many as values, {len(values)}")
    return texts, values


def _example(row: Row, layout: str, left_out: Counter[str]) -> DashboardExample:
    low, high, share, place = _EXAMPLE[layout]
    tokens, values = row.texts("tokens"), row.numbers("values")
    if len(tokens) != len(values):
        raise row.wrong("values", len(values), f"as many as tokens, {len(tokens)}")
    largest = max(range(len(values)), key=lambda at: abs(values[at]), default=-1)
    found = row.whole(place, largest)
    left_out.update(_beside(row, (low, high, share, place, "tokens", "values", *_NAMED)))
    placed = found if -1 <= found < len(tokens) else largest
    return DashboardExample(
        tokens, values, placed, row.number(low, -1.0), row.number(high, 0.0), row.number(share, -1.0)
    )


def _explanation(row: Row, left_out: Counter[str]) -> DashboardExplanation:
    used = ("id", "modelId", "layer", "index", "description", "authorId", "notes", "typeName", "explanationModelName")
    scores = {name: row.number(name) for name in ("scoreV1", "scoreV2") if row.values.get(name) is not None}
    left_out.update(_beside(row, (*used, *scores)))
    method = " ".join(filter(None, (row.text("typeName", ""), row.text("explanationModelName", ""))))
    return DashboardExplanation(
        row.text("description", ""), row.text("authorId", ""), method, row.text("notes", ""), scores
    )


def _beside(row: Row, used: tuple[str, ...]) -> list[str]:
    """What a row says beside; zeros and empty values say nothing."""
    return [name for name, value in row.values.items() if name not in used and value not in (None, "", [], 0, -1)]


def _in_groups(examples: list[DashboardExample]) -> list[DashboardExample]:
    """The largest activations first, then ranges, the largest first, as SAEDashboard has them."""
    return sorted(examples, key=lambda one: (one.low != -1, -one.low))


def _by_number(found: list[Dashboard]) -> list[Dashboard]:
    """Raises `UserError` for a feature that is there twice."""
    counts = Counter(one.latent for one in found)
    if twice := [latent for latent, n in counts.items() if n > 1]:
        raise UserError(
            f"The feature {twice[0]} is there {counts[twice[0]]} times.", "each feature once", "give one set of files."
        )
    return sorted(found, key=lambda one: one.latent)


def _index(row: Row) -> int:
    """The number of a feature, which these files have as text."""
    said = str(row.values.get("index"))
    if not (said.isascii() and said.isdecimal() and len(said) < 10):
        raise row.wrong("index", said[:40], "the number of a feature, as text")
    return int(said)


def _lines(home: Path, part: str) -> Iterator[Row]:
    """The rows of all batches of one kind."""
    for path in sorted(home.glob(f"{part}/batch-*.jsonl*")):
        opened = gzip.open(regular(path), "rb") if path.suffix == ".gz" else open(regular(path), "rb")
        try:
            with opened as file:
                number = 0
                while line := file.readline(LONGEST_LINE + 1):
                    number += 1
                    if len(line) > LONGEST_LINE:
                        raise UserError(
                            f"Line {number} of {path} is too long.", f"{LONGEST_LINE:,} bytes", "fetch it again."
                        )
                    if line.strip():
                        yield Row(_parsed(line.decode("utf-8"), path), f"{path}, line {number}")
        except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
            raise UserError(f"{path} is damaged: {error}.", "lines of JSON, compressed", "fetch it again.") from None


def _json(path: Path) -> Any:
    try:
        return json_file(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}.", "JSON", "fetch it again.") from None


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.", "lines of JSON", "fetch it again.") from None
