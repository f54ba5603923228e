"""Take the MLP of a run's model apart, and make runs of its components, which are then read like any dictionary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from sparselex.base.artifacts import open_artifact, read_manifest, verified
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import flush, new_folder
from sparselex.base.locks import lock
from sparselex.base.sites import Sites
from sparselex.base.staging import stage as staged
from sparselex.base.workspace import MAIN, Workspace
from sparselex.dictionaries.files import write_dictionary
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.types.components import ComponentsDictionary
from sparselex.evaluate.report import write_report
from sparselex.lm.load import load_model
from sparselex.lm.mlps import mlp_of
from sparselex.parameters.mlp.again import find_again
from sparselex.parameters.mlp.config import MlpConfig
from sparselex.parameters.mlp.target import MlpTarget
from sparselex.parameters.mlp.walk import CONTROL, Subjects, decompose_mlp, run_of
from sparselex.parameters.records import (
    COMPONENTS_OF,
    CONTROL_WEIGHTS,
    FOLDER,
    KIND,
    WEIGHTS,
    Decomposition,
    Matrix,
    decomposition_of,
    default_name,
)
from sparselex.recipes.config import RunConfig, twin_of
from sparselex.recipes.folder import stage_cards
from sparselex.recipes.run import Run
from sparselex.recipes.work.directions import nobody_writes
from sparselex.recipes.work.import_ import sample_of

Say = Callable[[str], None]
"""Tells a person what is done."""


class ComponentsOf(Config):
    """Which components a run has in the place of a trained dictionary."""

    decomposition: str
    """Name of the decomposition."""

    id: str
    """Its identity."""

    matrix: str
    """The matrix."""

    control: bool
    """Whether they are of the control."""


class Made(Config):
    """What the dictionary of such a run was made of."""

    components: ComponentsOf
    """Which components."""

    dictionary: AnyDictionaryConfig
    """What they became."""


def decompose_run(
    workspace: Workspace | Path | str,
    run: str = MAIN,
    config: MlpConfig | None = None,
    *,
    name: str | None = None,
    replace: bool = False,
    index: bool = True,
    say: Say = lambda text: None,
) -> Decomposition:
    """Take the MLP of one block of the run's model apart on the run's text, beside that of the model with weights that
    were not learned; then make a run of the components of each matrix, and index it.

    Args:
        run: the run whose model and text these are.
        config: the block, and how it is decomposed.
        name: what it is called, and what the names of its runs begin with; left out, `<run>-mlp-<layer>`. Under
            another name another seed stands beside it, and it is said how many components either finds again.
        replace: whether a decomposition of that name with other settings may be replaced, and its runs.
        index: whether the runs of components are indexed, so that there are pages of them; those of the control are
            not.
        say: told what is begun.

    Done already, it is not done again. Raises `UserError` for a run of two models, of a model whose MLP cannot be taken
    apart, of a twin, or of too little text; and where runs of other things have the names of those that are made.
    """
    workspace = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    config = config or MlpConfig()
    name = name or default_name(run, config.layer)
    reader = _reader(workspace, run)
    twin = _twin_of(workspace, run, reader.config)
    for matrix in mlp_of(reader.model, config.layer).every:
        for suffix in ("", f"-{CONTROL}"):
            _check_free(workspace, run_of(name, matrix.name) + suffix, name)
    kind = twin.model.twin
    said = f"the same model with weights that were not learned ({kind}, seed {twin.model.twin_seed})"
    subjects = Subjects(reader.subject, load_model(twin.model), said)
    to = workspace.path / FOLDER / name
    found = decompose_mlp(to, name, subjects, reader.corpus, config, run=run, replace=replace)
    for of, weights, made in (
        (reader.config, WEIGHTS, found.matrices),
        (twin, CONTROL_WEIGHTS, found.control_matrices),
    ):
        for one in made:
            _component_run(workspace, to, found, one, of, weights)
            if index and weights == WEIGHTS:
                if not workspace.has(one.run, "index"):
                    say(f"index of {one.run}")
                Run.open(workspace, one.run).do("index")
    if find_again(workspace.path, name, MlpTarget(reader.subject, reader.corpus, config.layer)):
        say("held against the other decompositions of these matrices")
    if workspace.report.exists():
        write_report(workspace)
    return decomposition_of(to)


def _reader(workspace: Workspace, run: str) -> Run:
    """The run, as it has read its text. Raises `UserError` where its model is no single one that was learned."""
    opened = Run.open(workspace, run)
    if opened.elsewhere or opened.config.second_model:
        raise UserError(
            f"Run {run!r} " + ("was made elsewhere." if opened.elsewhere else "reads two models."),
            "a run of one model",
            "name another --run.",
        )
    if opened.config.model.twin != "none":
        raise UserError(
            f"Run {run!r} reads a model whose weights were not learned: it is a control itself.",
            "a run of the model as it was trained",
            f"name the run that it is a control of ({opened.config.twin_of or MAIN}); a twin is decomposed beside it.",
        )
    workspace.corpus_of(run)
    return opened


def _twin_of(workspace: Workspace, run: str, config: RunConfig) -> RunConfig:
    """The run on weights that were not learned: as a control of that run has them, else drawn anew."""
    for other in workspace.begun():
        if workspace.card(other).twin_of == run and workspace.card(other).has_random_weights:
            theirs = Run.open(workspace, other).config.model
            return twin_of(config, run).with_twin(theirs.twin, theirs.twin_seed)
    return twin_of(config, run)


def _check_free(workspace: Workspace, name: str, decomposition: str) -> None:
    """Raise `UserError` where a run of something else has the name."""
    folder = workspace.run(name)
    if name not in workspace.begun() and not folder.exists():
        return
    kept = workspace.artifacts(name).get("dictionary") if name in workspace.begun() else None
    of = kept.config.get(COMPONENTS_OF) if kept else None
    if not (isinstance(of, dict) and of.get("decomposition") == decomposition):
        raise UserError(
            f"There is a run {name!r} already, of something else.",
            "that name for the components of a matrix",
            f"move {folder} away.",
        )


def _component_run(
    workspace: Workspace, to: Path, found: Decomposition, matrix: Matrix, of: RunConfig, weights: str
) -> None:
    """The run whose dictionary are the components of a matrix, in place whole or not at all."""
    control = weights == CONTROL_WEIGHTS
    told = ComponentsOf(decomposition=found.name, id=open_artifact(to, KIND).id, matrix=matrix.name, control=control)
    folder = workspace.run(matrix.run)
    if _is_made(workspace, matrix.run, told):  # nothing is written then, not even a lock
        return
    with lock(folder.with_name(f".{matrix.run}.lock"), f"making run {matrix.run!r}"):
        if not _is_made(workspace, matrix.run, told):  # by another process, just now
            _make(workspace, folder, matrix, of, told, to, weights, found)


def _is_made(workspace: Workspace, run: str, told: ComponentsOf) -> bool:
    kept = workspace.artifacts(run).get("dictionary") if run in workspace.begun() else None
    return kept is not None and kept.config.get(COMPONENTS_OF) == told.to_json()


def _make(
    workspace: Workspace,
    folder: Path,
    matrix: Matrix,
    of: RunConfig,
    told: ComponentsOf,
    to: Path,
    weights: str,
    found: Decomposition,
) -> None:
    twin = matrix.run.removesuffix(f"-{CONTROL}") if told.control else None
    stages = {verb: options for verb, options in of.stages.items() if verb == "index"}
    config = of.model_copy(update={"hook": matrix.hook, "target": matrix.writes, "twin_of": twin}).with_stages(stages)
    run = Run(workspace, found.run, config.model_copy(update={"twin_of": None}), goes_on=True)
    run.sites = Sites.at(matrix.hook, matrix.writes, mask=of.mask)
    dictionary = _dictionary(run, matrix, verified(to, weights, read_manifest(to)), found.layer or 0)
    made = Made.parse({COMPONENTS_OF: told.to_json(), "dictionary": dictionary.config.to_json()})
    inputs = {"model": run.model.id, "corpus": run.corpus.id, "decomposition": told.id, **run.sites.names()}
    notes: dict[str, Any] = {"median_norms": run.reader.median_norms.tolist()}
    card = workspace.card(found.run).model_copy(
        update={
            "name": matrix.run,
            "twin": of.model.twin,
            "twin_of": twin,
            "sites": run.sites,
            "stages": stage_cards(),
        }
    )
    with nobody_writes(folder), new_folder(folder, replaces=True) as aside:
        with staged(aside / "dictionary", "dictionary", made, inputs) as staging:
            write_dictionary(dictionary, staging.folder, model_name=of.model.name, sites=run.sites)
            staging.finish(notes | {"sample": sample_of(run, dictionary)})
        workspace.keep(card, config.to_json(), aside)
    flush(folder.parent)


def _dictionary(run: Run, matrix: Matrix, weights: Path, layer: int) -> ComponentsDictionary:
    tensors = load_file(weights)
    own = {
        key.removeprefix(f"{matrix.name}."): value
        for key, value in tensors.items()
        if key.startswith(f"{matrix.name}.")
    }
    bias = next(one.bias for one in mlp_of(run.model, layer).every if one.name == matrix.name)
    return ComponentsDictionary.of(own, bias)
