"""`sparselex evaluate ioi` and `sparselex evaluate task`: dictionaries put to a task whose variables are known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from rich.text import Text

from sparselex.base.figures import Figure
from sparselex.base.formats import fixed, plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags
from sparselex.cli.occlusion import occlusion_json, print_occlusion
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE, created
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.evaluate.supervised.published import beside_published
from sparselex.evaluate.supervised.records import DECIDED, GREEDY, LABELS, Row, TaskResult, Tested
from sparselex.recipes.option import Option
from sparselex.recipes.tasks import TaskOptions, evaluate_task


class IoiOptions(TaskOptions):
    """Put dictionaries to indirect object identification: find where a model does it, compute the dictionary that its
    labels give, and hold trained ones, and what nothing trained, against it in approximation, control and
    interpretability."""

    task: Annotated[str, Option(hidden=True)] = "ioi"
    """The task."""


def act(values: dict[str, Any], *, workspace: Path, json: bool) -> None:
    """Put dictionaries to a task, and print a table of each place."""
    _act(TaskOptions, values, workspace, json=json)


def act_ioi(values: dict[str, Any], *, workspace: Path, json: bool) -> None:
    """The same of indirect object identification."""
    _act(IoiOptions, values, workspace, json=json)


def _act(kind: type[TaskOptions], values: dict[str, Any], workspace: Path, *, json: bool) -> None:
    options = kind.parse(values, "the options of the task", names=flags(kind))
    with created(workspace) as opened:
        result = evaluate_task(opened, options.part(TaskOptions))
    if json:
        print_json(result.to_json() | occlusion_json(opened.path / "tasks" / options.called, asked=options.occlusion))
    else:
        _print(opened, options, result)


def _print(opened: Workspace, options: TaskOptions, result: TaskResult) -> None:
    console = console_of(None)
    said = {figure.name.rpartition("/")[2]: figure for figure in result.circuit.able}
    console.print(
        plain(
            f"{result.circuit.model} does the task {result.circuit.task}: the answer is the most likely token on "
            f"{_whole(said['most_likely'])} of {said['most_likely'].n} prompts, and its logit is "
            f"{_whole(said['logit_difference'])} above the other's (in brackets 95 % intervals over prompts)"
        )
    )
    if result.circuit.skipped:
        told = "; ".join(f"{n} {what}" for what, n in result.circuit.skipped.items())
        console.print(plain(f"left out of the task: {told}"))
    if result.general:
        console.print(plain(f"text of all kinds: {result.general}"))
    if result.circuit.heads:
        table = WideTable(
            "heads, by what patching them alone gives back",
            ("head", "at", "answer lost by", "effect", "direct", "does"),
        )
        for head in result.circuit.heads:
            effects = (_with_ends(head.effect, head.ci_low, head.ci_high), fixed(head.direct, 2))
            table.add_row(head.hook, head.role, head.corruption, *effects, head.kind)
        console.print(table)
    if result.attention:
        columns = ("attention scores", "score", "explained", "by chance", "largest terms, query × key")
        table = WideTable("why heads look where they do: scores as products of supervised queries and keys", columns)
        for one in result.attention:
            terms = ", ".join(f"{pair.query} × {pair.key} {fixed(pair.mean, 2)}" for pair in one.strongest())
            explained = (_of(one.score), _of(one.explained), _number(one.explained.null))
            table.add_row(f"{one.head} at {one.at}, {one.role}", *explained, terms)
        console.print(table)
    for tested in result.tested:
        _print_tested(console, tested)
    if options.occlusion:
        print_occlusion(console, opened.path / "tasks" / options.called)
    print(f"everything is in {opened.path / 'tasks' / options.called}")


def _print_tested(console: Any, tested: Tested) -> None:
    if not tested.yardstick:
        console.print(Text(plain(f"{tested.place.name}: no yardstick here, nothing is scored. {_why_none(tested)}")))
        return
    columns = ("dictionary", "sufficient", "necessary", *_columns(tested))
    n_prompts, n_seeds = tested.rows[0].sufficiency.n, max(row.n_seeds for row in tested.rows)
    about = f"{n_prompts} prompts, {n_seeds} seeds of what is drawn; intervals with --json and in the browser"
    table = WideTable(f"{tested.place.name}; in brackets without any edit, or by chance ({about})", columns)
    for row in tested.rows:
        table.add_row(f"{row.name} {row.setting}".strip(), *_cells(row, tested))
    console.print(table)
    if there := list(beside_published(tested)):
        columns = ("edit", "agreement", "published", "removed", "published ")
        table = WideTable("two latents exchanged, as published for GPT-2 Small and here", columns)
        for attribute, row, edit, came in there:
            here = (_of(edit.agreement), fixed(came.agreement, 2), fixed(edit.removed, 2), fixed(came.removed, 2))
            table.add_row(f"{attribute} by {row.name} {row.setting}".strip(), *here)
        console.print(table)
    for name in tested.gates:
        if tested.failed(name):
            console.print(Text(plain(f"    {name} is no yardstick here: {_failed(tested, name)}")))


def _why_none(tested: Tested) -> str:
    """What each supervised dictionary fails, those that fail alike together."""
    found = dict[str, list[str]]()
    for name in tested.gates:
        found.setdefault(_failed(tested, name), []).append(name)
    return "; ".join(why if len(found) == 1 else f"{' and '.join(names)}: {why}" for why, names in found.items())


def _failed(tested: Tested, name: str) -> str:
    failed = tested.failed(name)
    if any(gate.name == DECIDED for gate in failed):
        return "it decides no attribute: " + "; ".join(f"{who}, {why}" for who, why in tested.undecided.items())
    return ", ".join(f"{gate.name} {_number(gate.value)} (wanted {gate.wanted})" for gate in failed)


def _columns(tested: Tested) -> Iterator[str]:
    for attribute, unedited in tested.unedited.items():
        if attribute not in tested.undecided:
            few, more = _shown_at(tested)
            yield f"{attribute} at {few} ({_number(unedited.value)})"
            yield f"{attribute} at {more}"
            yield f"F1 {attribute}"


def _shown_at(tested: Tested) -> tuple[int, int]:
    """The two budgets that a line has room for: 2 and 8 where they were asked for, else the nearest to them."""
    asked = {edit.k for row in tested.rows for edit in row.edits if edit.way == GREEDY} or {2, 8}
    few, more = (min(asked, key=lambda k: (abs(k - wanted), k)) for wanted in (2, 8))
    return few, more


def _cells(row: Row, tested: Tested) -> Iterator[str]:
    yield from (_of(row.sufficiency), _of(row.necessity))
    for attribute in tested.unedited:
        if attribute in tested.undecided:
            continue
        edits = [edit for edit in row.edits if edit.attribute == attribute]
        by_labels = [edit for edit in edits if edit.way == LABELS]
        for place, k in enumerate(_shown_at(tested)):
            # What labels exchange has no budget: it stands where two latents do, or the fewest.
            at_k = by_labels[:1] if by_labels and not place else [e for e in edits if e.way == GREEDY and e.k == k]
            yield _of(at_k[0].agreement) if at_k else ""
        meaning = [one for one in row.meanings if one.attribute == attribute]
        yield f"{_of(meaning[0].f1)} ({_number(meaning[0].f1.null)})" if meaning else ""


def _of(figure: Figure) -> str:
    return _number(figure.value)


def _whole(figure: Figure) -> str:
    """A figure with its interval."""
    return _with_ends(figure.value, figure.ci_low, figure.ci_high)


def _with_ends(value: float | None, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" ({fixed(low, 2)} to {fixed(high, 2)})"
    return _number(value) + ends


def _number(value: float | None) -> str:
    return "not measured" if value is None else fixed(value, 2)


task = command(TaskOptions, act, WORKSPACE, JSON)
ioi = command(IoiOptions, act_ioi, WORKSPACE, JSON)
