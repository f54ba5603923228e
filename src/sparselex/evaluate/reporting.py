"""The making of a report: the figures of one run, each beside its controls, and what they do not show."""

from collections.abc import Mapping, Sequence

from sparselex.base.figures import Figure
from sparselex.base.formats import count, number
from sparselex.base.workspace import Workspace
from sparselex.evaluate.answers import Known, answers
from sparselex.evaluate.apart import is_apart
from sparselex.evaluate.comparisons import Control, comparisons
from sparselex.evaluate.config import control_words
from sparselex.evaluate.gathered import Gathered, gather
from sparselex.evaluate.records import Report
from sparselex.evaluate.twins import control_kind, frozen_part, words_of
from sparselex.evaluate.verdicts import verdicts


def made(workspace: Workspace, run: str, evaluated: Sequence[str], inputs: Mapping[str, str]) -> Report:
    """The report of one of the `evaluated` runs, which are all that have figures; `inputs` is what it is made of."""
    of_what = {name: workspace.card(name).twin_of for name in evaluated}
    found = {name: gather(workspace, name) for name in evaluated}
    family = [name for name in evaluated if of_what[name] == run]
    # Directions in a dictionary's place are measured there by the evaluation, and by `controls` as explanations.
    twins = [name for name in family if not control_kind(workspace, name)]
    controls = _together({name: found[name].figures for name in twins}, found[run].controls)
    by_name = {name: {figure.name: figure for figure in part} for name, part in controls.items()}
    held_against = {
        name: Control(part, found[name].influences, "") if name in twins else Control(part, found[run].influences, name)
        for name, part in by_name.items()
    }
    compared = comparisons(found[run].figures, found[run].influences, held_against)
    who = {name: _who(workspace, name, twins) for name in controls}
    is_twin = of_what[run] is not None
    random = [name for name in twins if workspace.card(name).has_random_weights]
    frozen = any(frozen_part(workspace, name) != "nothing" for name in (run, *twins))
    of_controls = {
        name: {one: figure.value for one, figure in part.items() if figure.value is not None}
        for name, part in by_name.items()
    }
    return Report(
        run=run,
        answers=answers(Known(found[run], compared, random, is_twin, frozen, of_controls)),
        figures=[_with_controls(figure, by_name) for figure in found[run].figures],
        controls=controls,
        comparisons=compared,
        verdicts=verdicts(found[run], compared, who, has_twin=bool(twins) or is_twin),
        others={name: values for name in evaluated if name not in (run, *family) if (values := _values(found[name]))},
        stale={
            name if owner == run else f"{owner}/{name}": why
            for owner, part in found.items()
            for name, why in part.stale.items()
        },
        cost=_cost(workspace, run),
        inputs=dict(inputs),
    )


def _together(own: Mapping[str, Sequence[Figure]], beside: Mapping[str, Sequence[Figure]]) -> dict[str, list[Figure]]:
    """The figures of controls that are runs, and those that were measured of controls beside the run's: of one that is
    both all of them, what was measured beside in the place of its own of that name."""
    found = dict[str, dict[str, Figure]]()
    for part in (own, beside):
        for name, figures in part.items():
            found.setdefault(name, {}).update({figure.name: figure for figure in figures})
    return {name: [*figures.values()] for name, figures in found.items()}


def _cost(workspace: Workspace, run: str) -> str:
    """In what any machine spends alike; seconds are a machine's own, and would make two reports of the same differ."""
    artifacts, said = workspace.artifacts(run), []
    if dictionary := artifacts.get("dictionary"):
        weights = sum(file.n_bytes for name, file in dictionary.files.items() if name.endswith(".safetensors"))
        said.append(f"{number(weights / 1e6, 3)} MB of weights")
        if trained := dictionary.notes.get("n_tokens"):
            said.append(f"{count(trained)} tokens of training")
    if (index := artifacts.get("index")) and (counted := index.notes.get("n_tokens")):
        said.append(f"{count(sum(counted.values()))} tokens counted")
    return ", ".join(said)


def _with_controls(figure: Figure, controls: Mapping[str, Mapping[str, Figure]]) -> Figure:
    """A figure beside its controls: those of the run, or where it lies apart its own."""
    if is_apart(figure.name):
        return figure
    values = {name: part[figure.name].value for name, part in controls.items() if figure.name in part}
    return figure.model_copy(update={"controls": {name: value for name, value in values.items() if value is not None}})


def _values(found: Gathered) -> dict[str, float]:
    """Values of a run; not those that other runs share with it."""
    return {one.name: one.value for one in found.figures if one.value is not None and not is_apart(one.name)}


def _who(workspace: Workspace, name: str, twins: Sequence[str]) -> str:
    if name not in twins:
        return control_words(name)
    return f"{name} ({words_of(workspace, workspace.card(name))})"
