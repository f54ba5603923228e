"""Take the strong attribute out of a place by degrees, train dictionaries anew, and count whose values they find
(Makelov, Lange and Nanda 2024, arXiv:2405.08366, section on occlusion). Each place is an artifact, and so is every
dictionary: killed at any moment and called again, the sweep goes on behind the last one that was finished."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.staging import stage
from sparselex.evaluate.occlusion.config import OcclusionConfig
from sparselex.evaluate.occlusion.counts import (
    Found,
    Swept,
    excess_figure,
    found_values,
    share_figure,
    slope_figure,
)
from sparselex.evaluate.occlusion.records import (
    OCCLUSION,
    OCCLUSION_FILE,
    RANDOM,
    STRONG,
    SWEEPS,
    SWEEPS_FILE,
    Occlusion,
    OcclusionPoint,
    OcclusionRow,
    Sweeps,
)
from sparselex.evaluate.occlusion.removal import Strengths, of_equal_length, strengths, subtracted
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.firing import Firing, firing_at
from sparselex.evaluate.supervised.labels import MADE, Supervised
from sparselex.evaluate.supervised.nodes import Node, Values
from sparselex.evaluate.supervised.pairs import Prompted, drawn, labels_of, n_values_of
from sparselex.evaluate.supervised.place import FIT, TEST, generator_of, part_files
from sparselex.evaluate.supervised.records import ACTIVATIONS, SUMMARY, SUPERVISED, TaskResult, Tested, passes
from sparselex.evaluate.supervised.rows import Contestant, trained
from sparselex.evaluate.supervised.walk import word
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import Task


class AtNodes(NamedTuple):
    """What is there before anything is subtracted."""

    fit: Values
    """On the prompts that dictionaries are made of."""

    there: Values
    """On tested ones."""

    supervised: Mapping[Node, Supervised]
    """What labels make of it."""


class Counted(NamedTuple):
    """What one kind of dictionary found when one thing was subtracted."""

    l0: float
    weak: Found
    strong: Found
    weak_by_chance: Found
    strong_by_chance: Found


def occlude(model: SubjectModel, task: Task, config: OcclusionConfig, to: Path) -> Sweeps:
    """The sweep at every place of a finished task whose supervised dictionary is a yardstick and that holds two
    attributes of three values or more. `to` is the task's folder. The prompts that were asked for must be those of the
    task: `config` is what `occlusion_config` makes of its own."""
    prompts, result = drawn(task, model.tokenizer, config), TaskResult.read(to / "summary")
    inputs = {"model": model.id, "tokenizer": model.tokenizer.id, "task": task.id}
    inputs["activations"] = open_artifact(to / "activations", ACTIVATIONS).id
    found, left_out = list[Occlusion](), dict[str, str]()
    for tested in result.tested:
        swept = _at_place(tested, prompts, config, to, inputs)
        if isinstance(swept, str):
            left_out[tested.place.name] = swept
        else:
            found.append(swept)
    sweeps = Sweeps(found=found, left_out=left_out)
    of = {**inputs, "task tests": open_artifact(to / "summary", SUMMARY).id}
    with stage(to / "occlusion" / "summary", SWEEPS, config, of) as staging:
        if not staging.made:
            write_json(staging.folder / SWEEPS_FILE, sweeps.to_json())
            Figures(figures=list(_figures(sweeps))).write(staging.folder)
            staging.finish()
    return sweeps


def _at_place(
    tested: Tested, prompts: Prompted, config: OcclusionConfig, to: Path, inputs: Mapping[str, str]
) -> Occlusion | str:
    """The sweep at one place, or why there is none."""
    if not passes(tested.gates[SUPERVISED]):
        return "the supervised dictionary is no yardstick there"
    at = _read([Node.parse(node) for node in tested.place.nodes], prompts, config, to)
    there = strengths(at.supervised, at.there, labels_of(prompts.test), config.least_there)
    if len(there.lengths) < 2:
        held = ", ".join(there.lengths) or "none"
        return f"of attributes with three values or more it holds {held}, and two are needed"
    folder, named = to / "occlusion" / word(tested.place.name), {**inputs, "place": " + ".join(tested.place.nodes)}
    with stage(folder, OCCLUSION, config, named) as staging:
        if not staging.made:
            dictionaries = to / "occlusion" / "dictionaries" / word(tested.place.name)
            swept = _swept(tested, at, there, prompts, config, dictionaries, inputs)
            write_json(staging.folder / OCCLUSION_FILE, swept.to_json())
            staging.finish()
    return Occlusion.from_file(verified(folder, OCCLUSION_FILE, open_artifact(folder, OCCLUSION)))


def _read(nodes: Sequence[Node], prompts: Prompted, config: TaskConfig, to: Path) -> AtNodes:
    """What the task has read there, and the dictionary that labels give."""
    manifest = open_artifact(to / "activations", ACTIVATIONS)
    fit, there = (load_file(verified(to / "activations", part_files(())[part], manifest)) for part in (FIT, TEST))
    make = MADE[config.supervised]
    labels, n_values = labels_of(prompts.fit), n_values_of(prompts.fit)
    return AtNodes(
        {node: fit[str(node)] for node in nodes},
        {node: there[str(node)] for node in nodes},
        {node: make(fit[str(node)], labels, n_values) for node in nodes},
    )


def _swept(
    tested: Tested,
    at: AtNodes,
    there: Strengths,
    prompts: Prompted,
    config: OcclusionConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> Occlusion:
    strong, weak = list(there.lengths)[:2]
    found = dict[tuple[str, str], dict[tuple[str, float], Counted]]()
    for removed, alpha in _subtractions(config):
        values = _without(at, prompts, strong, removed, alpha, config)
        name = f"{removed} {alpha:g}"
        of = {**inputs, "subtracted": f"{name} of {strong}", "vectors made by": config.supervised}
        contestants = trained(
            f"{tested.place.name}, less {name}", values.fit, config.part(TaskConfig), to / word(name), of
        )
        for one in contestants:
            counted = _counted(one, values, prompts, strong, weak, config)
            found.setdefault((one.name, one.setting), {})[removed, alpha] = counted
    path = f"{tested.place.name}/occlusion"
    return Occlusion(
        place=tested.place,
        strong=strong,
        weak=weak,
        lengths=there.lengths,
        there=there.there,
        decided=[name for name in tested.unedited if name not in tested.undecided],
        rows=[_row(path, key, points, strong, weak, config) for key, points in found.items()],
    )


def _subtractions(config: OcclusionConfig) -> Iterator[tuple[str, float]]:
    """All that is trained on; nothing at all is subtracted once."""
    yield from ((STRONG, alpha) for alpha in config.alphas)
    yield from ((RANDOM, alpha) for alpha in config.alphas if alpha)


def _without(
    at: AtNodes, prompts: Prompted, strong: str, removed: str, alpha: float, config: OcclusionConfig
) -> AtNodes:
    vectors = {node: one.vectors[strong] for node, one in at.supervised.items()}
    if removed == RANDOM:
        draws = {node: generator_of(config.seed, "equal length", str(node)) for node in vectors}
        vectors = {node: of_equal_length(rows, draws[node]) for node, rows in vectors.items()}
    fit, test = (labels_of(part)[strong] for part in (prompts.fit, prompts.test))
    return at._replace(fit=subtracted(at.fit, vectors, fit, alpha), there=subtracted(at.there, vectors, test, alpha))


def _counted(
    one: Contestant, at: AtNodes, prompts: Prompted, strong: str, weak: str, config: OcclusionConfig
) -> Counted:
    each = [
        [
            firing_at(at.fit[node], at.there[node], dictionary, draws)
            for node, dictionary in group.items()
            for draws in [generator_of(config.seed, "occlusion null", str(node), seed)]
        ]
        for seed, group in enumerate(one.groups)
    ]
    share = lambda attribute, null: np.stack(
        [np.mean([_found(fires, null, prompts, attribute, config) for fires in seed], axis=0) for seed in each]
    )
    l0 = float(np.mean([float(fires.there.sum(-1).float().mean()) for seed in each for fires in seed]))
    return Counted(l0, share(weak, False), share(strong, False), share(weak, True), share(strong, True))


def _found(
    fires: Firing, null: bool, prompts: Prompted, attribute: str, config: OcclusionConfig
) -> NDArray[np.float64]:
    """Which values have a latent, or a random direction, of their own."""
    on_fit, on_test = (fires.null_fit, fires.null_there) if null else (fires.fit, fires.there)
    fit, test = (labels_of(part)[attribute] for part in (prompts.fit, prompts.test))
    n_values = len(prompts.fit.values[attribute])
    return found_values(on_fit, on_test, (fit, test), n_values, config.found_for).double().numpy()


def _row(
    path: str,
    key: tuple[str, str],
    points: Mapping[tuple[str, float], Counted],
    strong: str,
    weak: str,
    config: OcclusionConfig,
) -> OcclusionRow:
    name = f"{path}/{' '.join(key)}"
    both = {removed: _along(points, removed, config) for removed in (STRONG, RANDOM)}
    swept = lambda removed, of: Swept(config.alphas, [of(one) for one in both[removed]])
    of_weak, of_strong = (lambda one: one.weak), (lambda one: one.strong)
    mine, null = swept(STRONG, of_weak), swept(RANDOM, of_weak)
    return OcclusionRow(
        name=key[0],
        setting=key[1],
        n_seeds=len(mine.found[0]),
        points=[
            _point(f"{name}/{removed} alpha={alpha:g}", removed, alpha, one, strong, weak, config)
            for removed, along in both.items()
            for alpha, one in zip(config.alphas, along, strict=True)
        ],
        weak_slope=slope_figure(f"{name}/weak_slope", mine, null, weak),
        weak_excess=excess_figure(f"{name}/weak_excess", mine, null, weak),
        strong_slope=slope_figure(f"{name}/strong_slope", swept(STRONG, of_strong), swept(RANDOM, of_strong), strong),
    )


def _along(points: Mapping[tuple[str, float], Counted], removed: str, config: OcclusionConfig) -> list[Counted]:
    return [points[(removed, alpha) if alpha else (STRONG, alpha)] for alpha in config.alphas]


def _point(
    name: str, removed: str, alpha: float, one: Counted, strong: str, weak: str, config: OcclusionConfig
) -> OcclusionPoint:
    return OcclusionPoint(
        removed=removed,
        alpha=alpha,
        l0=one.l0,
        weak=share_figure(f"{name}/weak", one.weak, one.weak_by_chance, weak, config.found_for),
        strong=share_figure(f"{name}/strong", one.strong, one.strong_by_chance, strong, config.found_for),
    )


def _figures(sweeps: Sweeps) -> Iterator[Figure]:
    for one in sweeps.found:
        for row in one.rows:
            yield from (row.weak_slope, row.weak_excess, row.strong_slope)
            yield from (figure for point in row.points for figure in (point.weak, point.strong))
