"""Records as tables on the console."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.text import Text

from sparselex.atlas.records import NULLS, POINTS, LatentDifference, ModelDiff, SweepReport
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import counted, plain
from sparselex.cli.wide import WideTable
from sparselex.evaluate.against import Against, AgainstControls, Explained
from sparselex.evaluate.apart import control_names, parted
from sparselex.evaluate.records import Report, Verdict

WIDTH = 160
"""Columns of a file or a pipe, which have no width of their own."""

NOT_MEASURED = "not measured"

MARKS: dict[Verdict, str] = {"better": "▲", "worse": "▼", "undecided": ""}
"""Signs of a figure that differs from its control's."""


def print_report(found: Report, console: Console | None = None) -> None:
    """Print the questions with their answers, the verdicts, the table of figures, and what was left out."""
    console = console_of(console)
    for answer in found.answers:
        console.print(Text(plain(answer.question), style="bold"), Text(plain(answer.answer)))
        for line in answer.evidence:
            _say(console, f"    {line}")
    if found.cost:
        _say(console, f"What it took: {found.cost}.")
    if found.answers:
        console.print()
    for verdict in found.verdicts:
        _say(console, f"• {verdict}")
    names = [name for name in found.controls if any(name in figure.controls for figure in found.figures)]
    title = f"{found.run}, beside its controls; ▲ better and ▼ worse than a control beyond doubt"
    marks = {(one.figure, one.control): MARKS[one.verdict] for one in found.comparisons}
    own, apart = parted(found.figures)
    if own:
        console.print(_figures(title, own, names, marks))
    for name, figures in apart.items():
        console.print(_figures(f"{name}, beside its own controls", figures, control_names(figures)))
    if found.others:
        _say(console, f"• Other evaluated runs, no controls of this one: {', '.join(found.others)}.")
    for name, why in found.stale.items():
        _say(console, f"• Left out: {name}, {why}.")


def _figures(
    title: str,
    figures: Sequence[Figure],
    names: Sequence[str],
    marks: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> WideTable:
    """Figures beside the controls of these names; `marks` are signs, by figure and control."""
    table = WideTable(title, ("figure", "value", "95 % interval", "null", *names, "n"))
    for figure in figures:
        beside = [f"{marks.get((figure.name, name), '')} {number(figure.controls.get(name))}".strip() for name in names]
        value = f"{number(figure.value, missing=NOT_MEASURED)} {figure.unit if figure.value is not None else ''}"
        table.add_row(figure.name, value.strip(), interval(figure), number(figure.null), *beside, f"{figure.n:,}")
    return table


def print_diff(found: ModelDiff, console: Console | None = None) -> None:
    """Print the classes of a comparison of two models, and the latents that are most specific to either."""
    console = console_of(console)
    by_name = {figure.name: figure for figure in found.figures}
    a, b = found.models
    _say(console, f"a: {a}, b: {b}; {found.n_tokens:,} tokens of test documents")
    columns = ("class", "latents", "share", "95 % interval", "truly specific", "95 % interval")
    table = WideTable("latents by class", columns)
    for name, n in found.n_latents.items():
        figures = by_name[f"diff/{name}_share"], by_name.get(f"diff/{name}_specific_share")
        table.add_row(name, f"{n:,}", *(cell for figure in figures for cell in _with_interval(figure)))
    console.print(table)
    alike, between = _with_interval(by_name["diff/shared_cosine"])
    _say(
        console,
        f"mean cosine of the two rows of shared latents: {alike}{f' ({between})' if between else ''}; near 0 the "
        "models have no directions in common, and the following says nothing.",
    )
    if found.n_silent:
        _say(console, f"Active on none of these tokens: {counted(found.n_silent, 'latent')}.")
    for name, model in zip(("only_a", "only_b"), (a, b), strict=True):
        if found.most_specific[name]:
            console.print(_most_specific(model, found.most_specific[name]))


def print_sweep(found: SweepReport, console: Console | None = None) -> None:
    """Print the table of dictionaries, best first within a hook by L0, and the table of stability."""
    console = console_of(console)
    columns = ("dictionary", "L0", "FVU", "loss recovered", "95 % interval", "CE increase", "dead", "n")
    table = WideTable("sweep; ● on the Pareto front against L0", columns)
    for row in sorted(found.rows, key=lambda row: (row.hook, row.value("core/l0") or 0.0)):
        cells = [f"failed: {row.failure}"] if row.failure else _core_cells(row.figures, row.fronts)
        table.add_row(row.name, *cells)
    for name, figures in found.controls.items():
        table.add_row(f"(control) {name.rpartition('/')[2]}", *_core_cells(figures))
    console.print(table)
    if found.stability:
        console.print(_stability(found.stability))
    for remark in found.remarks:
        _say(console, f"• {remark}")


def print_against(found: AgainstControls, console: Console | None = None) -> None:
    """Print each foremost score of a run beside that of every control, and what was not measured."""
    console = console_of(console)
    chances = ("chance to be better", "95 % interval", "of all latents", "95 % interval")
    columns = ("control", "score", "median", "control's", *chances, "explained", "control's", "n", "control's")
    title = f"latents of {found.run.run} against those of its controls; ▲ better and ▼ worse beyond doubt"
    table = WideTable(title, columns)
    shares = {(one.control, one.explainer): one for one in found.explained}
    for row in filter(lambda row: row.headline, found.rows):
        share = shares[row.control, row.explainer]
        table.add_row(row.control, f"{row.explainer} {row.scorer} {row.metric}", *_against_cells(row, share))
    console.print(table)
    for name, why in found.missing.items():
        _say(console, f"• {name}: {NOT_MEASURED}, {why}")


def _against_cells(row: Against, share: Explained) -> list[str]:
    marks = {"run": "▲ ", "control": "▼ ", "neither": ""}
    chances = ((row.superiority, row.higher), (row.superiority_of_all, row.higher_of_all))
    told = [(marks[who] + number(one.value, 3, NOT_MEASURED), interval(one, ".3g")) for one, who in chances]
    of_explained, of_all = told
    explained = [number(one.value, 3) for one in (share.run_share, share.control_share)]
    return [
        *(number(value, 3) for value in (row.median, row.median_control)),
        *of_explained,
        *of_all,
        *explained,
        f"{row.n:,}",
        f"{row.n_control:,}",
    ]


def number(value: float | None, digits: int = 4, missing: str = "") -> str:
    """The text of one cell: a value with so many significant digits, or what stands where there is none."""
    return missing if value is None else f"{value:.{digits}g}"


def interval(figure: Figure, form: str = ".4g") -> str:
    """The text of an interval; empty where one of its ends is not known."""
    known = figure.ci_low is not None and figure.ci_high is not None
    return f"{figure.ci_low:{form}} … {figure.ci_high:{form}}" if known else ""


def console_of(console: Console | None = None) -> Console:
    """A console, or the one that is there; what is no terminal is as wide as `WIDTH`."""
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _say(console: Console, words: str) -> None:
    console.print(Text(plain(words)))


def _with_interval(figure: Figure | None) -> tuple[str, str]:
    return ("", "") if figure is None else (number(figure.value, 3, NOT_MEASURED), interval(figure, ".3g"))


def _most_specific(model: str, latents: Sequence[LatentDifference]) -> WideTable:
    columns = ("latent", "nu error", "nu reconstruction", "relative norm", "cosine", "n")
    table = WideTable(f"most specific to {model}", columns)
    for one in latents:
        values = one.nu_error, one.nu_reconstruction, one.relative_norm, one.cosine
        table.add_row(str(one.latent), *(f"{value:.3f}" for value in values), f"{one.n_active:,}")
    return table


def _core_cells(figures: Sequence[Figure], fronts: Sequence[str] = ()) -> list[str]:
    """What a sweep's table says of one dictionary; a control has no share of dead latents."""
    by_name = {figure.name: figure for figure in figures}
    recovered = by_name["core/loss_recovered_mean"]

    def cell(name: str) -> str:
        found = number(by_name[name].value, 3, NOT_MEASURED) if name in by_name else ""
        return f"● {found}" if name in fronts else found

    shown = [cell(name) for name in ("core/l0", "core/fvu", recovered.name)]
    others = [cell(name) for name in ("core/ce_increase", "train/dead_share")]
    return [*shown, interval(recovered, ".3f"), *others, f"{recovered.n:,}"]


def _stability(figures: Sequence[Figure]) -> WideTable:
    table = WideTable("stability between seeds", ("figure", "value", "95 % interval", *NULLS.values(), "n"))
    for figure in figures:
        name = figure.name.removeprefix("stability/")
        if figure.value is None:
            table.add_row(name, f"{NOT_MEASURED}: {figure.failure}")
            continue
        by_name = figure.controls | ({} if figure.null is None else {POINTS: figure.null})
        nulls = (f"{by_name[null]:.3f}" if null in by_name else "" for null in NULLS)
        table.add_row(name, f"{figure.value:.3f}", interval(figure, ".3f"), *nulls, f"{figure.n:,}")
    return table


TABLES: dict[type[Config], Callable[[Any], None]] = {
    Report: print_report,
    ModelDiff: print_diff,
    SweepReport: print_sweep,
    AgainstControls: print_against,
}
"""Records that have a table."""
