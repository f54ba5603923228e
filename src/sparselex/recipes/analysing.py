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
    """Take every analysis of a run, or those that are named; what is done is not done again. One that the run cannot
    have is left out with its reason, unless it was asked for by name: then `UserError` is raised.

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
    folder, lines, left_out = RunFolder.open(workspace, run), dict[str, str](), dict[str, str]()
    for name in only or ANALYSES:
        stage = folder.stage(verb_of(name))
        if not folder.is_done(stage):
            say(f"{stage.verb} ...")
            try:
                found(_RUN)(workspace, run, folder.config, goes_on=folder.goes_on).do(stage, replace=replace)
            except UserError as error:
                if only:
                    raise
                left_out[name] = error.given
                say(f"  left out: {error.given}")
                continue
            folder = RunFolder.open(workspace, run)
        lines[name] = stage.line(folder, stage.shown(folder))
        say(f"  {name}: {lines[name]}")
    return Analysed(lines, left_out)
