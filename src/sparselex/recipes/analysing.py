"""All analyses of a dictionary, one after the other. PyTorch is loaded only if there is something to be done."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sparselex.atlas.analyses import ANALYSES, verb_of
from sparselex.base.errors import UserError
from sparselex.base.registry import Registry, found
from sparselex.base.workspace import MAIN, Workspace
from sparselex.recipes.folder import RunFolder

_RUN = "sparselex.recipes.run:Run"


class Analysed(NamedTuple):
    """What came of the analyses of one run."""

    lines: dict[str, str]
    """What each found, in one line, by name."""

    left_out: dict[str, str]
    """Those that this run cannot have, and why."""


def analyse(
    workspace: Workspace,
    run: str = MAIN,
    only: Sequence[str] = (),
    *,
    replace: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Analysed:
    """Take every analysis of a run, or those that are named; what is done is not done again, and one that the run
    cannot have is left out with its reason. Raises that reason, a `UserError`, where nothing is left.

    Args:
        workspace: where the run is; it must be indexed.
        run: its name.
        only: names of `ANALYSES`.
        replace: whether what was made with other options is made anew.
        say: called with a line when an analysis begins and when it is done.
    """
    known = Registry("analysis", dict.fromkeys(ANALYSES, ""))
    for name in only:
        if name not in ANALYSES:
            raise known.unknown(name)
    lines, refused = dict[str, str](), dict[str, UserError]()
    for name in only or ANALYSES:
        try:
            lines[name] = _taken(workspace, run, verb_of(name), replace, say)
            say(f"  {name}: {lines[name]}")
        except UserError as error:
            refused[name] = error
            say(f"  {name}: left out: {error.given}")
    if refused and not lines:
        raise next(iter(refused.values()))
    return Analysed(lines, {name: error.given for name, error in refused.items()})


def _taken(workspace: Workspace, run: str, verb: str, replace: bool, say: Callable[[str], None]) -> str:
    """Take one analysis; what it found, in one line."""
    folder = RunFolder.open(workspace, run)
    stage = folder.stage(verb)
    if not folder.is_done(stage):
        say(f"{verb} ...")
        folder = found(_RUN)(workspace, run, folder.config, goes_on=folder.goes_on)
        folder.do(stage, replace=replace)
    return stage.line(folder, stage.shown(folder))
