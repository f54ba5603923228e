"""Put dictionaries to a task: from prompts to the circuit, to dictionaries of what is there, to the three tests. Each
step is an artifact of its own, and what is there is not made again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.staging import stage
from sparselex.evaluate.supervised.circuit import find_circuit
from sparselex.evaluate.supervised.config import CircuitConfig, TaskConfig
from sparselex.evaluate.supervised.general import General, OfGeneral, read_general
from sparselex.evaluate.supervised.named import given_places
from sparselex.evaluate.supervised.nodes import Node, Values
from sparselex.evaluate.supervised.pairs import Prompted, drawn
from sparselex.evaluate.supervised.place import FIT, TEST, at_place, read_all
from sparselex.evaluate.supervised.records import (
    ACTIVATIONS,
    ATTENTION,
    ATTENTION_FILE,
    CIRCUIT,
    CIRCUIT_FILE,
    SUMMARY,
    SUMMARY_FILE,
    TESTED,
    TESTED_FILE,
    Attention,
    AttentionScores,
    Circuit,
    Place,
    TaskResult,
    Tested,
    passes,
)
from sparselex.evaluate.supervised.rows import GENERAL_TEXT, OfRun, given, of_runs, trained
from sparselex.evaluate.supervised.scores import Looking, attention_scores, heads_looking
from sparselex.evaluate.supervised.tested import rows_of, supervised_rows
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import END, Task


def put_to_task(
    model: SubjectModel,
    task: Task,
    config: TaskConfig,
    to: Path,
    *,
    runs: Sequence[OfRun] = (),
    general: General | None = None,
) -> TaskResult:
    """Find where a model does a task, train dictionaries on what is there, and on what is there on `general` text, and
    put them to the three tests, with those of `runs` at their own sites at the last token. `to` is the folder of all
    artifacts; killed at any moment and called again, it goes on behind the last step that was finished.

    Raises `UserError` for a model that cannot do the task, for prompts that are not alike token by token, and for
    places that the model does not have."""
    prompts = drawn(task, model.tokenizer, config)
    inputs = {"model": model.id, "tokenizer": model.tokenizer.id, "task": task.id}
    circuit = _circuit(model, task, prompts, config, to, inputs)
    places = _with_runs(circuit.sections, runs)
    looks = heads_looking(model, circuit, task, config)
    read = _read(model, prompts, places, looks, config, to, inputs)
    attention = _attention(model, task, prompts, looks, config, to, inputs, read)
    everywhere = _general(model, general, places, config, to, inputs)
    tested = [_tested(model, task, prompts, place, config, to, inputs, runs, read, everywhere) for place in places]
    result = TaskResult(circuit=circuit, tested=tested, attention=attention)
    with stage(to / "summary", SUMMARY, config, inputs | _ids(runs)) as staging:
        if not staging.made:
            write_json(staging.folder / SUMMARY_FILE, result.to_json())
            Figures(figures=list(_figures(result))).write(staging.folder)
            staging.finish()
    return result


def _with_runs(places: Sequence[Place], runs: Sequence[OfRun]) -> list[Place]:
    """All places, and those of dictionaries that are of none of them."""
    found = list(places)
    for run in runs:
        if not any(run.at([Node.parse(node) for node in place.nodes]) for place in found):
            node = Node(run.hook, END)
            found.append(Place(name=str(node), words=f"where run {run.name} reads", nodes=(str(node),)))
    return found


def _ids(runs: Sequence[OfRun]) -> dict[str, str]:
    return {f"run {run.name}": run.id for run in runs}


def _circuit(
    model: SubjectModel, task: Task, prompts: Prompted, config: TaskConfig, to: Path, inputs: Mapping[str, str]
) -> Circuit:
    with stage(to / "circuit", CIRCUIT, config.part(CircuitConfig), inputs) as staging:
        if not staging.made:
            few = slice(0, config.n_circuit)
            clean, corrupted = prompts.test.of(few), {way: one.of(few) for way, one in prompts.corrupted.items()}
            find = given_places if config.places else find_circuit
            found = find(model, task, clean, corrupted, config).model_copy(update={"skipped": dict(task.left_out)})
            write_json(staging.folder / CIRCUIT_FILE, found.to_json())
            staging.finish()
    return Circuit.read(to / "circuit")


def _read(
    model: SubjectModel,
    prompts: Prompted,
    places: Sequence[Place],
    looks: Sequence[Looking],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> dict[str, Values]:
    """What is at every place, and the queries and keys of some heads, from one reading of all prompts."""
    nodes = list(dict.fromkeys(Node.parse(node) for place in places for node in place.nodes))
    nodes = list(dict.fromkeys((*nodes, *(node for look in looks for node in look.nodes))))
    named = {**inputs, "nodes": " + ".join(map(str, nodes))}
    with stage(to / "activations", ACTIVATIONS, config.part(CircuitConfig), named) as staging:
        if not staging.made:
            with progress("read prompts", 2 + len(prompts.changed), "readings") as bar:
                for part, values in read_all(model, prompts, nodes):
                    tensors = {str(node): value.contiguous() for node, value in values.items()}
                    save_file(tensors, staging.folder / f"{word(part)}.safetensors")
                    bar.advance(1)
            staging.finish()
    manifest = open_artifact(to / "activations", ACTIVATIONS)
    found = dict[str, Values]()
    for part in (FIT, TEST, *prompts.changed):
        tensors = load_file(verified(to / "activations", f"{word(part)}.safetensors", manifest))
        found[part] = {node: tensors[str(node)] for node in nodes}
    return found


def _general(
    model: SubjectModel,
    general: General | None,
    places: Sequence[Place],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> OfGeneral | None:
    """What is at the sites of all places on general text; None where there is none, or no type is trained on it."""
    if general is None or not config.general:
        return None
    hooks = list(dict.fromkeys(Node.parse(node).hook for place in places for node in place.nodes))
    return read_general(model, general, hooks, config.n_general, to / "general", inputs)


def _attention(
    model: SubjectModel,
    task: Task,
    prompts: Prompted,
    looks: Sequence[Looking],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
    read: Mapping[str, Values],
) -> list[AttentionScores]:
    named = {**inputs, "heads": " + ".join(f"{look.output}: {', '.join(map(str, look.keys))}" for look in looks)}
    with stage(to / "attention", ATTENTION, config, named) as staging:
        if not staging.made:
            found = list[AttentionScores]()
            with progress("take scores apart", len(looks), "heads") as bar:
                for look in looks:
                    found += attention_scores(model, prompts, look, read, config, f"{task.name}/attention")
                    bar.advance(1)
            write_json(staging.folder / ATTENTION_FILE, Attention(heads=found).to_json())
            staging.finish()
    return Attention.read(to / "attention").heads


def _tested(
    model: SubjectModel,
    task: Task,
    prompts: Prompted,
    place: Place,
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
    runs: Sequence[OfRun],
    read: Mapping[str, Values],
    everywhere: OfGeneral | None,
) -> Tested:
    folder, nodes = to / "tests" / word(place.name), [Node.parse(node) for node in place.nodes]
    here = [run for run in runs if run.at(nodes)]
    text = {} if everywhere is None else {"general text": everywhere.id}
    named = {**inputs, "place": " + ".join(place.nodes), **text, **_ids(here)}
    with stage(folder, TESTED, config, named) as staging:
        if not staging.made:
            at = at_place(model, prompts, place, f"{task.name}/{place.name}", read)
            rows, gates = supervised_rows(at, config, task.parametrisations)
            if any(map(passes, gates.values())):
                dictionaries = to / "dictionaries" / word(place.name)
                contestants = trained(place.name, at.fit, config, dictionaries, inputs)
                if everywhere is not None:
                    values, named = everywhere.at(nodes), {**inputs, **text}
                    dictionaries = dictionaries.with_name(f"{dictionaries.name}-{word(GENERAL_TEXT)}")
                    where = f"{place.name}, {GENERAL_TEXT}"
                    contestants += trained(where, values, config, dictionaries, named, general=True)
                contestants += [*of_runs(here, nodes), *given(at.fit, config)]
                with progress(f"test {place.name}", len(contestants), "dictionaries") as bar:
                    for one in contestants:
                        rows += rows_of(at, [one], config)
                        bar.advance(1)
            tested = Tested(
                place=place, gates=gates, unedited=dict(at.unedited), undecided=dict(at.undecided), rows=rows
            )
            write_json(staging.folder / TESTED_FILE, tested.to_json())
            staging.finish()
    return Tested.read(folder)


def _figures(result: TaskResult) -> Iterator[Figure]:
    """Every figure of a task."""
    yield from (*result.circuit.able, *result.circuit.missed)
    for scores in result.attention:
        yield from (scores.score, scores.explained)
    for tested in result.tested:
        yield from tested.unedited.values()
        for row in tested.rows:
            yield from (row.sufficiency, row.necessity, *row.causal)
            yield from (edit.agreement for edit in row.edits)
            for meaning in row.meanings:
                yield from (meaning.f1, meaning.n_known, meaning.unions)
            yield from (figure for split in row.splits for figure in split.figures)


def word(name: str) -> str:
    """A name as that of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)
