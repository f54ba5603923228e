"""Results as delphi leaves them: `explanations/<hookpoint>_latent<i>.txt`, a JSON text each, and
`scores/<scorer>/<hookpoint>_latent<i>.txt`, a list of judged examples each."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.convert.checked import Row
from sparselex.convert.explanations.numbers import MOST_FEATURES
from sparselex.convert.explanations.rows import damaged, whole_json
from sparselex.convert.explanations.told import LeftOut, Ours, OurSet, ReadExplanations, Told, ToldScore

FORMAT = "delphi"

DEFINITION = (
    "from the answers in delphi's files, of its own examples: some of them may have been shown to the explainer as well"
)

UNPARSED = "Explanation could not be parsed."
"""What its explainers keep in place of an answer that they cannot read: no explanation."""

_NAME = re.compile(r"(?P<hookpoint>.+)_latent(?P<latent>\d{1,19})\.txt", re.ASCII)


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
        found = list(_measures(path.parent.name, rows))
        if not found:
            left_out.add("scores of a kind that is not read", f"{path.parent.name} of latent {one.latent}")
        yield from found


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


def written(explanations: list[Ours], of: OurSet) -> Iterator[tuple[str, str]]:
    """`(file, text)` of each explanation. Scores there are lists of examples in its own windows, which ours are not."""
    for one in explanations:
        yield f"explanations/{of.hookpoint}_latent{one.latent}.txt", one.text
