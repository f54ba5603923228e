"""Results as delphi leaves them: `explanations/<hookpoint>_latent<i>.txt`, a JSON text each, and
`scores/<scorer>/<hookpoint>_latent<i>.txt`, a list of judged examples each."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sparselex.base.errors import UserError
from sparselex.convert.checked import Row
from sparselex.convert.explanations.numbers import MOST_FEATURES
from sparselex.convert.explanations.rows import damaged, whole_json
from sparselex.convert.explanations.told import (
    LeftOut,
    OurExample,
    Ours,
    OurSet,
    OurTrial,
    ReadExplanations,
    Told,
    ToldScore,
)

FORMAT = "delphi"

DEFINITION = (
    "from the answers in delphi's files, or as these say it, of its own examples: some of them may have been shown to "
    "the explainer as well"
)

UNPARSED = "Explanation could not be parsed."
"""What its explainers keep in place of an answer that they cannot read: no explanation."""

_NAME = re.compile(r"(?P<hookpoint>.+)_latent(?P<latent>\d{1,19})\.txt", re.ASCII)


_SCORERS = {"detection": "detection", "fuzzing": "fuzz"}
"""What its scorers are called whose examples have the form of ours, by our names."""

_HARD = "-hard"
"""Behind the name of a scorer whose silent examples are easily mistaken."""

_RANDOM = ("active", "silent")
"""The windows of which its scorer of that name, left at its defaults, has examples."""


class _Named(NamedTuple):
    """A file with what its name says."""

    path: Path
    hookpoint: str
    latent: int


def files_of(source: Path) -> list[Path]:
    """The files with explanations in a folder of results, or in its folder `explanations`."""
    inside = source / "explanations" if (source / "explanations").is_dir() else source
    return sorted(path for path in inside.glob("*.txt") if _NAME.fullmatch(path.name))


def read(files: list[Path], hookpoint: str) -> ReadExplanations:
    """Read the explanations of one hookpoint, and the scores that lie beside. Raises `UserError` for what is damaged,
    and where there are several hookpoints and none of them is named."""
    left_out, read_files, told = LeftOut(), list[Path](), list[Told]()
    for one in _at(_named(files), hookpoint):
        read_files.append(one.path)
        text = whole_json(one.path)
        if not isinstance(text, str):
            raise damaged(one.path, f"it holds {type(text).__name__}, no text", "a JSON text")
        if text.strip() == UNPARSED:
            left_out.add("answers that delphi could not read", f"latent {one.latent}")
            continue
        scores = tuple(_scores(one, read_files, left_out))
        told.append(Told(latent=one.latent, text=text, scores=scores))
    return ReadExplanations(FORMAT, told, left_out, read_files)


def _named(files: list[Path]) -> list[_Named]:
    found = []
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise damaged(path, "its name says no latent", "<hookpoint>_latent<number>.txt")
        latent = int(match["latent"])
        if latent >= MOST_FEATURES:
            raise damaged(path, f"it is of latent {latent}", f"numbers of latents from 0 to {MOST_FEATURES - 1}")
        found.append(_Named(path, match["hookpoint"], latent))
    return sorted(found, key=lambda one: (one.hookpoint, one.latent))


def _at(found: list[_Named], hookpoint: str) -> list[_Named]:
    """Those of the hookpoint, or of the only one there is."""
    there = sorted({one.hookpoint for one in found})
    wanted = hookpoint or (there[0] if len(there) == 1 else "")
    if wanted not in there:
        raise UserError(
            f"{found[0].path.parent} holds explanations at {', '.join(there[:5])}"
            + (f", and none at {hookpoint}." if hookpoint else "."),
            "one hookpoint, which is what a run reads",
            f"name it with --hookpoint, such as {there[0]}.",
        )
    return [one for one in found if one.hookpoint == wanted]


def _scores(one: _Named, read_files: list[Path], left_out: LeftOut) -> Iterator[ToldScore]:
    home = one.path.parent.parent / "scores"
    for path in sorted(home.glob(f"*/{one.path.name}")) if one.path.parent.name == "explanations" else ():
        read_files.append(path)
        value = whole_json(path)
        if not isinstance(value, list):
            raise damaged(path, f"it holds {type(value).__name__}, no list", "a JSON list of judged examples")
        rows = [Row(entry, f"{path}, entry {number}") for number, entry in enumerate(value)]
        found = list(_of_file(path.parent.name, rows))
        if not found:
            left_out.add("scores of a kind that is not read", f"{path.parent.name} of latent {one.latent}")
        yield from found


def _of_file(scorer: str, rows: list[Row]) -> Iterator[ToldScore]:
    """What a file of a scorer says: answers, simulations by tenths, or a figure that every entry repeats."""
    if rows and all("scored_sequence_simulations" in row.values for row in rows):
        yield from _simulated(scorer, rows)
    elif rows and all("final_score" in row.values for row in rows):
        for name in ("final_score", "avg_kl_divergence"):
            yield ToldScore(scorer, name, rows[0].number(name), len(rows))
    else:
        yield from _measures(scorer, rows)


def _simulated(scorer: str, rows: list[Row]) -> Iterator[ToldScore]:
    """The correlation over all sequences, which stands at distance 0, or of each tenth where silent ones were not read.
    A text says that there is none; its two other measures are 0 in every file, and no measures."""
    whole = [row for row in rows if row.whole("distance") == 0]
    for row in whole or rows:
        if row.values.get("ev_correlation_score") in (None, "nan"):
            continue
        name = "ev_correlation_score" + ("" if whole else f" at distance {row.whole('distance')}")
        n = sum(len(one.numbers("true_activations")) for one in row.rows("scored_sequence_simulations"))
        yield ToldScore(scorer, name, row.number("ev_correlation_score"), n)


def _measures(scorer: str, rows: list[Row]) -> Iterator[ToldScore]:
    """Shares of right answers; what was not answered is left out of them, and told."""
    truths = [_vote(row, "activating", "ground_truth") for row in rows]
    if not rows or None in truths:
        return
    pairs = [
        (truth, vote) for truth, row in zip(truths, rows, strict=True) if (vote := _vote(row, "prediction")) is not None
    ]
    yield ToldScore(scorer, "unanswered", 1 - len(pairs) / len(rows), len(rows))
    if not pairs:
        return
    yield ToldScore(scorer, "accuracy", sum(truth == vote for truth, vote in pairs) / len(pairs), len(pairs))
    right = {kind: [vote == kind for truth, vote in pairs if truth == kind] for kind in (True, False)}
    if all(right.values()):
        value = sum(sum(part) / len(part) for part in right.values()) / 2
        yield ToldScore(scorer, "balanced_accuracy", value, len(pairs))


def _vote(row: Row, *names: str) -> bool | None:
    """Yes or no; None where there is neither. Some versions write -1 for an answer that they could not read."""
    value = next((row.values[name] for name in names if name in row.values), None)
    return bool(value) if value in (True, False) else None


def written(
    explanations: list[Ours], of: OurSet, trials: Callable[[Ours], Iterable[OurTrial]]
) -> Iterator[tuple[str, Any]]:
    """`(file, value)` of each explanation, and of what each judge said of it window by window."""
    for one in explanations:
        name = f"{of.hookpoint}_latent{one.latent}.txt"
        yield f"explanations/{name}", one.text
        for trial in trials(one):
            for scorer, examples in _by_scorer(trial):
                yield f"scores/{scorer}/{name}", _entries(examples)


def _by_scorer(trial: OurTrial) -> Iterator[tuple[str, list[OurExample]]]:
    """Active windows with the silent ones drawn at random, and again with those that are easily mistaken: figures that
    are made of one file are then of one kind of negatives, as there."""
    scorer = _SCORERS[trial.judge]
    yield scorer, [one for one in trial.examples if one.kind in _RANDOM]
    hard = [one for one in trial.examples if one.kind != "silent"]
    if any(one.kind != "active" for one in hard):
        yield scorer + _HARD, hard


def _entries(examples: list[OurExample]) -> list[dict[str, Any]]:
    # Bare votes are no probabilities, and have none there.
    is_bare = all(one.said in (None, 0, 1) for one in examples)
    return [_entry(one, is_bare) for one in examples]


def _entry(one: OurExample, is_bare: bool) -> dict[str, Any]:
    active, vote = one.kind == "active", None if one.said is None else one.said > 0.5
    return {
        "str_tokens": one.tokens,
        "activations": one.activations,
        "distance": -1 if one.tenth is None else one.tenth,
        "activating": active,
        "prediction": vote,
        "probability": None if is_bare else one.said,
        "correct": None if vote is None else vote == active,
    }
