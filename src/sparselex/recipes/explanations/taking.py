"""Explanations of others enter a run's store, each under the name of its explainer, with where it came from beside."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.files import checksum
from sparselex.base.workspace import Workspace
from sparselex.convert.explanations.files import DEFINITIONS, read_explanations
from sparselex.convert.explanations.told import LONGEST_TEXT, ReadExplanations, Told, plain_text
from sparselex.explain.asking.registry import WRITERS
from sparselex.explain.imported import Imported, TheirScore
from sparselex.explain.records import Explanation
from sparselex.explain.registry import EXPLAINERS
from sparselex.recipes.dashboards.names import LONGEST_TITLE, public_name
from sparselex.recipes.explanations.opened import Opened, open_explanations
from sparselex.recipes.explanations.records import ImportSummary, LeftOutRow

IMPORTED = "imported"
"""What stands as the configuration of an explanation that was not made here."""

_NAME = re.compile(r"\w[\w .:/+-]{0,63}")


class _Taken(NamedTuple):
    """What is written: explanations and where each came from, by explainer and latent."""

    said: Mapping[tuple[str, int], Explanation]
    rows: Mapping[tuple[str, int], Imported]


def import_explanations(
    workspace: Workspace, run: str, source: Path, *, name: str = "", layout: str = "", hookpoint: str = ""
) -> ImportSummary:
    """Take up the explanations in a file or a folder; what is there already stays as it is, with its scores.

    Args:
        workspace: the workspace.
        run: the run whose latents they are of; it has an index.
        source: a file, or a folder.
        name: what their explainer is called here; left out, by their format.
        layout: their format; left out, the one that is found.
        hookpoint: of delphi's results at several places the one that is meant.

    Raises `UserError` for what `read_explanations` refuses, where nothing is of a latent of the run, and for the name
    of an explainer that explained here. Nothing is then written.
    """
    opened = open_explanations(workspace, run)
    read = read_explanations(source, layout=layout, hookpoint=hookpoint)
    digest, label = _checksum(read.files), public_name(str(source.absolute()))
    taken = _taken(read, _checked(name or read.format), opened.features.d_sae, label, digest)
    if not taken.said:
        raise _nothing(source, read, run, opened.features.d_sae)
    before = _before(opened, {explainer for explainer, _ in taken.said})
    summary = ImportSummary(
        run=run,
        source=label,
        sha256=digest,
        format=read.format,
        explainers=dict(Counter(explainer for explainer, _ in taken.said)),
        n_new=len(taken.said.keys() - before.said.keys()),
        n_changed=sum(before.said.get(key, one) != one for key, one in taken.said.items()),
        n_same=sum(before.said.get(key) == one for key, one in taken.said.items()),
        left_out=[LeftOutRow.of(what, where) for what, where in read.left_out.found.items()],
    )
    _write(opened, before, taken)
    return summary


def _write(opened: Opened, before: _Taken, taken: _Taken) -> None:
    """Write what is not there yet. Where from first: an explanation without that would be taken for one of ours."""
    rows = [row for key, row in taken.rows.items() if before.rows.get(key) != row]
    if rows:
        opened.imported.add(opened.features.id, rows)
    said = [one for key, one in taken.said.items() if before.said.get(key) != one]
    if said:
        opened.store.add(opened.features.id, IMPORTED, said)


def _taken(read: ReadExplanations, name: str, d_sae: int, source: str, digest: str) -> _Taken:
    """Of each explainer the first that it says of each latent of the run; the rest is counted."""
    said: dict[tuple[str, int], Explanation] = {}
    rows: dict[tuple[str, int], Imported] = {}
    names = _names(name, read.told)
    for told in read.told:
        explainer, text = names[_how(told)], plain_text(told.text)
        if why := _refused(told.latent, text, d_sae):
            read.left_out.add(why, f"latent {told.latent}")
            continue
        key = (explainer, told.latent)
        if key in said:
            what = "explanations that are there twice" if said[key].text == text else "further explanations of a latent"
            read.left_out.add(what, f"latent {told.latent}")
            continue
        said[key] = _explanation(told, explainer, text)
        rows[key] = _row(told, explainer, read.format, source, digest)
    return _Taken(said, rows)


def _refused(latent: int, text: str, d_sae: int) -> str:
    """Why it is not taken; empty where it is."""
    if latent >= d_sae:
        return "explanations of latents that are not there"
    if not text:
        return "empty explanations"
    return f"explanations of more than {LONGEST_TEXT:,} characters" if len(text) > LONGEST_TEXT else ""


def _how(told: Told) -> str:
    return plain_text(told.method or told.author)


def _names(name: str, told: Iterable[Told]) -> dict[str, str]:
    """The explainer's name, and where a file has explanations by several methods one for each of these."""
    methods = list(dict.fromkeys(map(_how, told)))
    if len(methods) < 2:
        return dict.fromkeys(methods, name)
    return {method: f"{name}/{method}" if method else name for method in methods}


def _explanation(told: Told, explainer: str, text: str) -> Explanation:
    title = (plain_text(told.title) or text).split("\n")[0][:LONGEST_TITLE]
    return Explanation(latent=told.latent, explainer=explainer, status="explained", text=text, title=title)


def _row(told: Told, explainer: str, layout: str, source: str, digest: str) -> Imported:
    scores = [TheirScore(**score._asdict(), definition=DEFINITIONS[layout]) for score in told.scores]
    return Imported(
        latent=told.latent,
        explainer=explainer,
        format=layout,
        source=source,
        sha256=digest,
        method=plain_text(told.method),
        author=plain_text(told.author),
        scores=tuple(scores),
    )


def _before(opened: Opened, explainers: Iterable[str]) -> _Taken:
    """What was imported under these names before. Raises `UserError` where one of them explained here."""
    rows = {(row.explainer, row.latent): row for row in opened.imported.of_index(opened.features.id)}
    said = {(e.explainer, e.latent): e for name in explainers for e in opened.store.all(opened.features.id, name)}
    for explainer, latent in said:
        if (explainer, latent) not in rows:
            raise _ours(explainer)
    return _Taken(said, rows)


def _checked(name: str) -> str:
    """The name of an explainer. Raises `UserError` for one that cannot be, or that is one of ours."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of an explainer.",
            "letters, digits and a few signs, at most 64, beginning with a letter or digit",
            "give a plainer name with --as.",
        )
    if name in (*EXPLAINERS.names(), *WRITERS.names()):
        raise _ours(name)
    return name


def _ours(explainer: str) -> UserError:
    return UserError(
        f"Explanations by {explainer!r} are made here.",
        "a name of their own for those of others",
        "give one with --as.",
    )


def _nothing(source: Path, read: ReadExplanations, run: str, d_sae: int) -> UserError:
    found = "; ".join(str(LeftOutRow.of(what, where)) for what, where in read.left_out.found.items())
    return UserError(
        f"{source} has no explanation of a latent of run {run!r}" + (f": {found}." if found else "."),
        f"explanations of the latents 0 to {d_sae - 1}",
        "name the run that they are of with --run.",
    )


def _checksum(files: Iterable[Path]) -> str:
    """That of a file; of several one of all their names and checksums."""
    found = [(path.name, checksum(path)) for path in dict.fromkeys(files)]
    return found[0][1] if len(found) == 1 else hashlib.sha256(repr(found).encode()).hexdigest()
