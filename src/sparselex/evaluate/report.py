"""The report: the figures of a workspace's main run, each beside its controls, and what they do not show."""

from rich.console import Console
from rich.table import Table

from sparselex.atlas.records import DIFF, ModelDiff
from sparselex.base.artifacts import read_json, write_json
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.workspace import MAIN, Workspace
from sparselex.evaluate.records import Evaluation

TWIN = "twin"


class Report(Config):
    """What `report.json` holds."""

    figures: list[Figure]
    """Figures of run `main` with those of its controls."""

    verdicts: list[str]
    """Where the trained model's figures do and do not differ from the random twin's, in words."""


def report(workspace: Workspace) -> Report:
    """Every evaluated run's figures side by side.

    Raises `UserError` if the main run (or, without one, any run) has not been evaluated.
    """
    runs = [name for name in workspace.runs() if evaluation_of(workspace, name)]
    if not runs:
        raise UserError(
            f"{workspace.path} holds no evaluated run.",
            "a run that went through harvest or demo, train, index, explain and evaluate",
            f"run `sparselex evaluate {workspace.path.name}`.",
        )
    main = MAIN if MAIN in runs else runs[0]
    figures = {name: figures_of(workspace, name) for name in runs}
    controls = {name: {f.name: f for f in figures[name]} for name in runs if name != main}
    evaluation = evaluation_of(workspace, main)
    assert evaluation is not None
    controls |= {name: {f.name: f for f in part} for name, part in evaluation.baselines.items()}
    together = [_with_controls(figure, controls) for figure in figures[main]]
    verdicts = _verdicts(figures[main], controls[TWIN]) if TWIN in controls else ["No random twin was run: no verdict."]
    return Report(figures=together, verdicts=verdicts)


def write_report(workspace: Workspace) -> Report:
    """The report, written to `report.json`. Raises like `report`."""
    found = report(workspace)
    write_json(workspace.report, found.to_json())
    return found


def evaluation_of(workspace: Workspace, run: str) -> Evaluation | None:
    """The stored evaluation of a run, or None."""
    values = read_json(workspace.run(run) / "evaluation" / "evaluation.json")
    return None if values is None else Evaluation.parse(values, f"the evaluation of run {run}")


def diff_of(workspace: Workspace, run: str) -> ModelDiff | None:
    """The stored comparison of a run's two models, or None; also None where the dictionary has been trained anew
    since."""
    folder = workspace.run(run)
    values, manifest, trained = (
        read_json(folder / name) for name in (f"diff/{DIFF}", "diff/manifest.json", "dictionary/manifest.json")
    )
    if values is None or not manifest or not trained or manifest["inputs"]["dictionary"] != trained.get("id"):
        return None
    return ModelDiff.parse(values, f"the comparison of run {run}")


def figures_of(workspace: Workspace, run: str) -> list[Figure]:
    """Core figures of a run, those of its explanations, and those of the comparison of its two models if one was
    made."""
    evaluation = evaluation_of(workspace, run)
    compared = diff_of(workspace, run)
    figures = (evaluation.figures if evaluation else []) + explanation_figures(workspace, run)
    return figures + (compared.figures if compared else [])


def explanation_figures(workspace: Workspace, run: str) -> list[Figure]:
    """What the run's explanations say in numbers; nothing where it has none."""
    path = workspace.run(run) / "explanations" / FIGURES
    return Figures.from_file(path).figures if path.exists() else []


def print_report(found: Report, console: Console | None = None) -> None:
    """Print the table and the verdicts."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 160  # a file or a pipe has no width of its own
    names = sorted({name for figure in found.figures for name in figure.controls}, key=lambda n: (n != TWIN, n))
    table = Table(title="main, beside its controls", title_justify="left")
    for column in ("figure", "value", "95 % interval", "null", *names, "n"):
        table.add_column(column, justify="left" if column == "figure" else "right", overflow="fold")
    for figure in found.figures:
        value = f"{figure.value:.4g} {figure.unit}".strip() if figure.value is not None else "not measured"
        interval = (
            "" if figure.ci_low is None or figure.ci_high is None else f"{figure.ci_low:.4g} … {figure.ci_high:.4g}"
        )
        null = "" if figure.null is None else f"{figure.null:.4g}"
        beside = [f"{figure.controls[name]:.4g}" if name in figure.controls else "" for name in names]
        table.add_row(figure.name, value, interval, null, *beside, f"{figure.n:,}")
    console.print(table)
    for verdict in found.verdicts:
        console.print(f"• {verdict}", highlight=False)


def print_diff(found: ModelDiff, console: Console | None = None) -> None:
    """Print the classes of a comparison of two models, and the latents that are most specific to either."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 160
    by_name = {figure.name: figure for figure in found.figures}
    a, b = found.models
    console.print(f"a: {a}, b: {b}; {found.n_tokens:,} tokens of test documents", highlight=False)
    table = Table(title="latents by class", title_justify="left")
    for column in ("class", "latents", "share", "95 % interval", "truly specific", "95 % interval"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, n in found.n_latents.items():
        specific = by_name.get(f"diff/{name}_specific_share")
        table.add_row(
            name, f"{n:,}", *_cells(by_name[f"diff/{name}_share"]), *(_cells(specific) if specific else ("", ""))
        )
    console.print(table)
    alike, interval = _cells(by_name["diff/shared_cosine"])
    console.print(
        f"mean cosine of the two rows of shared latents: {alike}{f' ({interval})' if interval else ''}; near 0 the "
        "models have no "
        "directions in common, and the following says nothing.",
        highlight=False,
    )
    if found.n_silent:
        console.print(f"{found.n_silent:,} latents were active on none of these tokens.", highlight=False)
    for name, model in zip(("only_a", "only_b"), (a, b), strict=True):
        table = Table(title=f"most specific to {model}", title_justify="left")
        for column in ("latent", "nu error", "nu reconstruction", "relative norm", "cosine", "n"):
            table.add_column(column, justify="right")
        for one in found.most_specific[name]:
            table.add_row(
                str(one.latent),
                f"{one.nu_error:.3f}",
                f"{one.nu_reconstruction:.3f}",
                f"{one.relative_norm:.3f}",
                f"{one.cosine:.3f}",
                f"{one.n_active:,}",
            )
        if found.most_specific[name]:
            console.print(table)


def _cells(figure: Figure) -> tuple[str, str]:
    value = "not measured" if figure.value is None else f"{figure.value:.3g}"
    known = figure.ci_low is not None and figure.ci_high is not None
    return value, f"{figure.ci_low:.3g} … {figure.ci_high:.3g}" if known else ""


def _with_controls(figure: Figure, controls: dict[str, dict[str, Figure]]) -> Figure:
    values = {name: part[figure.name].value for name, part in controls.items() if figure.name in part}
    return figure.model_copy(update={"controls": {k: v for k, v in values.items() if v is not None}})


def _verdicts(main: list[Figure], twin: dict[str, Figure]) -> list[str]:
    """One sentence on the figures whose intervals overlap with the twin's, one on those whose intervals do not."""
    apart: list[str] = []
    alike: list[str] = []
    for figure in main:
        other = twin.get(figure.name)
        if other is None or None in (figure.ci_low, figure.ci_high, other.ci_low, other.ci_high):
            continue
        overlap = figure.ci_low <= other.ci_high and other.ci_low <= figure.ci_high  # type: ignore[operator]
        (alike if overlap else apart).append(figure.name)
    return [
        "Clearly different from the random twin (intervals apart): " + (", ".join(apart) or "none") + ".",
        "Not clearly different from the random twin (intervals overlap): " + (", ".join(alike) or "none") + ".",
        "Loss recovered means little on a random model: it has no loss worth recovering.",
    ]
