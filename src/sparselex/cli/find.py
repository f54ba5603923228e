"""`sparselex find`: the features that carry a concept."""

from pathlib import Path
from typing import Any

from sparselex.atlas.proxies.records import Carrier, ConceptFound
from sparselex.base.formats import counted, fixed, number, percent, plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, REPLACE, RUN, WORKSPACE
from sparselex.recipes.finding import FindOptions
from sparselex.recipes.finding import find as find_concept


def act(values: dict[str, Any], *, workspace: Path, run: str, json: bool, replace: bool) -> None:
    """Look for the features, and say what was found."""
    opened = Workspace(workspace)
    options = FindOptions.parse(values, "the options of find", names=flags(FindOptions))
    found = find_concept(opened, run=run, options=options, replace=replace)
    if json:
        print_json(found.to_json())
        return
    print_found(found)
    print(f"sparselex serve {opened.typed} shows it at /runs/{run}/proxies/{found.name}")


def print_found(found: ConceptFound) -> None:
    """The best features, what they are held against, and the siblings."""
    from rich.console import Console

    console = Console()
    inside = f"{counted(found.n_test, 'test token')} in {counted(found.n_documents, 'document')}"
    said = f"{found.name}: {found.words}; {inside}, {percent(found.share)} of all; chosen on {found.n_train:,} more"
    console.print(plain(said), highlight=False, markup=False)
    console.print(_features(found))
    if found.siblings:
        console.print(_siblings(found))
    best = found.figure("specificity_high")
    if best.ci_low is not None and best.ci_high is not None:
        ends = f"{fixed(best.ci_low, 2)} to {fixed(best.ci_high, 2)}"
        print(f"latent {found.carriers[0].latent}: specificity at high activation {_of(best.value)}, 95 % {ends}")
    print(plain(f"neuron: {found.neuron_words}"))


def _features(found: ConceptFound) -> Any:
    from sparselex.cli.wide import WideTable

    columns = ("latent", "high", "n high", "specificity", "weighted", "sensitivity", "recall", "active on")
    table = WideTable("features whose activation correlates most with it on training tokens, on test tokens", columns)
    rows = {f"{one.latent}": one for one in found.carriers}
    rows |= {f"neuron {'−' * (found.neuron.sign < 0)}{found.neuron.latent}": found.neuron} if found.neuron else {}
    rows |= {f"{run} {one.latent}": one for run, one in found.twins.items()}
    rows |= {f"by chance {one.latent}": one for one in found.by_chance}
    for name, one in rows.items():
        table.add_row(name, *_cells(one))
    return table


def _cells(one: Carrier) -> tuple[str, ...]:
    measures = (one.specificity, one.specificity_weighted, one.sensitivity, one.recall)
    density = "–" if one.density is None else percent(one.density)
    return (_of(one.specificity_high), f"{one.n_high:,}", *map(_of, measures), density)


def _siblings(found: ConceptFound) -> Any:
    from sparselex.cli.wide import WideTable

    columns = ("latent", "adds", "random adds", "recall with it", "specificity")
    table = WideTable("siblings: of the tokens inside, those on which all before are silent", columns)
    for one in found.siblings:
        table.add_row(f"{one.latent}", *map(_of, (one.added, one.random_added, one.recall, one.specificity)))
    return table


def _of(value: float | None) -> str:
    return number(None) if value is None else fixed(value, 3)


find = command(FindOptions, act, WORKSPACE, RUN, REPLACE, JSON)
