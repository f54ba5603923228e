"""The verbs, each loaded when it is taken: a list of them costs no more than their names."""

import difflib
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from sparselex.base.errors import UserError
from sparselex.base.registry import found, summary
from sparselex.cli.recipe import DESCRIBED, RECIPES
from sparselex.recipes.stages import STAGES


class Other(NamedTuple):
    """A verb that is no stage of a run."""

    address: str
    """Of the function that typer makes a command of."""

    help_at: str = ""
    """Address of what has the docstring; empty where the function has it."""


BEFORE = {"demo": Other("sparselex.cli.demo:demo", "sparselex.recipes.demo:Demo")}
_PLAIN = (
    "use",
    "dashboards",
    "explanations",
    "ablate",
    "steer",
    "report",
    "serve",
    "notes",
    "ratings",
    "gallery",
    "push",
    "check",
)

AFTER = {name: Other(f"sparselex.cli.{name}:{name}") for name in _PLAIN} | {
    "analyse": Other("sparselex.cli.analyse:analyse"),
    "recipe": Other("sparselex.cli.recipe:recipe"),
    "compare": Other("sparselex.cli.compare:compare", "sparselex.cli.compare:CompareOptions"),
    "decompose": Other("sparselex.cli.decompose:decompose", "sparselex.cli.decompose:DecomposeOptions"),
    "find": Other("sparselex.cli.find:find", "sparselex.recipes.finding:FindOptions"),
    "graph": Other("sparselex.cli.graph:graph", "sparselex.recipes.graphs:GraphOptions"),
    "pair": Other("sparselex.cli.pair:pair", "sparselex.recipes.pairs:PairOptions"),
    "hooks": Other("sparselex.cli.hooks:hooks", "sparselex.cli.hooks:HooksConfig"),
}
"""What stands before and after the stages."""

TOPICS = {
    "evaluate ioi": Other("sparselex.cli.tasks:ioi", "sparselex.cli.tasks:IoiOptions"),
    "evaluate task": Other("sparselex.cli.tasks:task", "sparselex.recipes.tasks:TaskOptions"),
    "evaluate synthetic": Other("sparselex.cli.synthetic:synthetic", "sparselex.cli.synthetic:SyntheticOptions"),
    **{f"recipe {name}": Other(address, DESCRIBED[name]) for name, address in RECIPES.items()},
}
"""Verbs of two words, told from a stage of the first alone by the second; a folder of that name is `./NAME`."""

OTHERS = BEFORE | TOPICS | AFTER

RICHER = {name: f"sparselex.cli.{name}:{name}" for name in ("index", "explain", "controls")}
"""Stages whose commands do more than take them, with the addresses of these."""


class Verbs(TyperGroup):
    """Every stage of the table, and what else there is to do with a workspace."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order in which they are taken."""
        return [*BEFORE, *STAGES.names(), *TOPICS, *AFTER]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the arguments begin with, of two words where there is such a one."""
        if (both := " ".join(args[:2])) in TOPICS or both in STAGES.names():
            args = [both, *args[2:]]
        elif len(args) > 1 and not Path(args[1]).exists():
            _check_second(args[0], args[1])
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded now; none if there is no such verb."""
        if cmd_name in OTHERS:
            return _command(cmd_name, found(OTHERS[cmd_name].address))
        if cmd_name not in STAGES.names():
            return None
        if cmd_name in RICHER:
            return _command(cmd_name, found(RICHER[cmd_name]))
        from sparselex.cli.stages import verb

        return _command(cmd_name, verb(STAGES.get(cmd_name)))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the list of the verbs, of which none is loaded for that."""
        listed: dict[str, Any] = {name: TyperCommand(name, help=_help(name)) for name in self.list_commands(ctx)}
        markup: Any = self.rich_markup_mode
        group = TyperGroup(name=self.name, commands=listed, help=self.help, params=self.params, rich_markup_mode=markup)
        group.format_help(ctx, formatter)


def _seconds(first: str) -> list[str]:
    """Second words of the verbs that begin so."""
    both = (name.partition(" ") for name in (*STAGES.names(), *TOPICS))
    return [second for begins, _, second in both if begins == first and second]


def _check_second(first: str, second: str) -> None:
    """Raise `UserError` for a word that is nearly the second one of a verb: as the name of a workspace it would only be
    told that there is no such folder. What is written as a path is meant as one."""
    near = difflib.get_close_matches(second, _seconds(first), n=1)
    if near and "/" not in second:
        raise UserError(
            f"There is no verb `{first} {second}`, and no folder {second!r}.",
            f"one of {', '.join(f'{first} {one}' for one in _seconds(first))}, or a workspace",
            f"did you mean `{first} {near[0]}`? A workspace of that name is ./{second}.",
        )


def _command(name: str, function: Any) -> Any:
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    more = ", ".join(f"{name} {second}" for second in _seconds(name))
    said = paragraphs(function.__doc__ or "")
    alone.command(name, help=said, epilog=f"Verbs of their own: {more}." if more else None)(function)
    return typer.main.get_command(alone)


def paragraphs(docstring: str) -> str:
    """A docstring with each paragraph in one line, which a terminal breaks where it ends: lines of the source are not
    those of a terminal. What is set in, and items of lists, keep their lines."""
    parts = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(part if re.search(r"(?m)^(\s|[-*] )", part) else part.replace("\n", " ") for part in parts)


def _help(name: str) -> str:
    address = (OTHERS[name].help_at or OTHERS[name].address) if name in OTHERS else STAGES.address(name)
    return paragraphs(summary(address)).partition("\n\n")[0]
