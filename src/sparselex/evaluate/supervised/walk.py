"""Put dictionaries to a task: from prompts to the circuit, to dictionaries of what is there, to the three tests. Each
step is an artifact of its own, and what is there is not made again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import fingerprint, write_file, write_json
from sparselex.base.progress import progress
from sparselex.base.sites import Hook
from sparselex.base.staging import stage
from sparselex.evaluate.supervised.circuit import find_circuit
from sparselex.evaluate.supervised.config import CircuitConfig, TaskConfig
from sparselex.evaluate.supervised.general import General, OfGeneral, read_general
from sparselex.evaluate.supervised.named import given_places, places_of
from sparselex.evaluate.supervised.nodes import Node, Values
from sparselex.evaluate.supervised.pairs import Prompted, drawn
from sparselex.evaluate.supervised.place import AtPlace, at_place, part_files, read_all
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
from sparselex.evaluate.supervised.rows import GENERAL_TEXT, Contestant, OfRun, check_recipes, given, of_runs, trained
from sparselex.evaluate.supervised.scores import Looking, attention_scores, heads_looking
from sparselex.evaluate.supervised.tested import rows_of, supervised_rows
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import END, Task

_LONGEST, _BEGINS = 120, 40
"""Bytes of a folder's name, and letters that are kept of one that would be longer."""


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
    walk = _Walk(model, task, config, to)
    circuit = walk.circuit()
    places = _with_runs(circuit.sections, runs)
    looks = heads_looking(model, circuit, task, config)
    read = walk.read(places, looks)
    attention = walk.attention(looks, read)
    everywhere = None if general is None or not config.general else walk.general(general, places)
    tested = [walk.tested(place, read, runs, everywhere) for place in places]
    told = "" if everywhere is None else everywhere.words
    result = TaskResult(circuit=circuit, tested=tested, attention=attention, general=told)
    parts = {"circuit": CIRCUIT, "attention": ATTENTION, **{f"tests/{word(p.name)}": TESTED for p in places}}
    made = {part: open_artifact(to / part, kind).id for part, kind in parts.items()}
    with stage(to / "summary", SUMMARY, config, walk.inputs | _ids(runs) | made) as staging:
        if not staging.made:
            write_json(staging.folder / SUMMARY_FILE, result.to_json())
            Figures(figures=list(_figures(result))).write(staging.folder)
            staging.finish()
    return result


class _Walk:
    """The steps, each an artifact in the folder `to`."""

    def __init__(self, model: SubjectModel, task: Task, config: TaskConfig, to: Path):
        self.model, self.task, self.config, self.to = model, task, config, to
        self.prompts = drawn(task, model.tokenizer, config)
        _check_context(model, task, self.prompts)
        check_recipes(config, _widths(model, config))
        self.inputs = {"model": model.id, "tokenizer": model.tokenizer.id, "task": task.id}
        self.of_values = dict[str, str]()
        """What dictionaries of the prompts' values are made of, once these are read."""

    def circuit(self) -> Circuit:
        """Where the task is computed."""
        config, prompts = self.config, self.prompts
        with stage(self.to / "circuit", CIRCUIT, config.part(CircuitConfig), self.inputs) as staging:
            if not staging.made:
                few = slice(0, config.n_circuit)
                clean, corrupted = prompts.test.of(few), {way: one.of(few) for way, one in prompts.corrupted.items()}
                find = given_places if config.places else find_circuit
                found = find(self.model, self.task, clean, corrupted, config)
                found = found.model_copy(update={"skipped": dict(self.task.left_out)})
                write_json(staging.folder / CIRCUIT_FILE, found.to_json())
                staging.finish()
        return Circuit.read(self.to / "circuit")

    def read(self, places: Sequence[Place], looks: Sequence[Looking]) -> dict[str, Values]:
        """What is at every place, and the queries and keys of some heads, from one reading of all prompts."""
        nodes = list(dict.fromkeys((*_nodes(places), *(node for look in looks for node in look.nodes))))
        named, folder = self.inputs | {"nodes": " + ".join(map(str, nodes))}, self.to / "activations"
        files = part_files(self.prompts.changed)
        with stage(folder, ACTIVATIONS, self.config.part(CircuitConfig), named) as staging:
            if not staging.made:
                with progress("read prompts", 2 + len(self.prompts.changed), "readings") as bar:
                    for part, values in read_all(self.model, self.prompts, nodes):
                        tensors = {str(node): value.contiguous() for node, value in values.items()}
                        # Not save_file: it hides why the disk refused.
                        write_file(staging.folder / files[part], save(tensors))
                        bar.advance(1)
                staging.finish()
        manifest = open_artifact(folder, ACTIVATIONS)
        self.of_values = {"activations": manifest.id}
        found = dict[str, Values]()
        for part, file in files.items():
            tensors = load_file(verified(folder, file, manifest))
            found[part] = {node: tensors[str(node)] for node in nodes}
        return found

    def general(self, general: General, places: Sequence[Place]) -> OfGeneral:
        """What is at the sites of all places on text of all kinds."""
        hooks = list(dict.fromkeys(node.hook for node in _nodes(places)))
        return read_general(self.model, general, hooks, self.config.n_general, self.to / "general", self.inputs)

    def attention(self, looks: Sequence[Looking], read: Mapping[str, Values]) -> list[AttentionScores]:
        """Why some heads look where they do."""
        heads = " + ".join(f"{look.output}: {', '.join(map(str, look.keys))}" for look in looks)
        named = self.inputs | {"heads": heads, "made by": self.config.supervised, "seeds": str(self.config.n_seeds)}
        with stage(self.to / "attention", ATTENTION, self.config.part(CircuitConfig), named) as staging:
            if not staging.made:
                path, found = f"{self.task.name}/attention", list[AttentionScores]()
                with progress("take scores apart", len(looks), "heads") as bar:
                    for look in looks:
                        found += attention_scores(self.model, self.prompts, look, read, self.config, path)
                        bar.advance(1)
                write_json(staging.folder / ATTENTION_FILE, Attention(heads=found).to_json())
                staging.finish()
        return Attention.read(self.to / "attention").heads

    def tested(
        self, place: Place, read: Mapping[str, Values], runs: Sequence[OfRun], everywhere: OfGeneral | None
    ) -> Tested:
        """What comes out at one place."""
        folder, nodes = self.to / "tests" / word(place.name), _nodes([place])
        here = [run for run in runs if run.at(nodes)]
        named = self.inputs | {"place": " + ".join(place.nodes)} | _text(everywhere) | _ids(here)
        with stage(folder, TESTED, self.config, named) as staging:
            if not staging.made:
                at = at_place(self.model, self.prompts, place, f"{self.task.name}/{place.name}", read)
                rows, gates = supervised_rows(at, self.config, self.task.parametrisations)
                contestants = list[Contestant]()
                if any(map(passes, gates.values())):
                    contestants += self._trained(place, at, everywhere)
                    contestants += [*of_runs(here, nodes), *given(at.fit, self.config)]
                with progress(f"test {place.name}", len(contestants), "dictionaries", shown=bool(contestants)) as bar:
                    for one in contestants:
                        rows += rows_of(at, [one], self.config)
                        bar.advance(1)
                tested = Tested(
                    place=place, gates=gates, unedited=dict(at.unedited), undecided=dict(at.undecided), rows=rows
                )
                write_json(staging.folder / TESTED_FILE, tested.to_json())
                staging.finish()
        return Tested.read(folder)

    def _trained(self, place: Place, at: AtPlace, everywhere: OfGeneral | None) -> list[Contestant]:
        """All that is trained at a place, on the prompts and on text of all kinds."""
        to = self.to / "dictionaries" / word(place.name)
        found = trained(place.name, at.fit, self.config, to, self.inputs | self.of_values)
        if everywhere is not None:
            values, named = everywhere.at(_nodes([place])), self.inputs | _text(everywhere)
            to, where = to.with_name(f"{to.name}-{word(GENERAL_TEXT)}"), f"{place.name}, {GENERAL_TEXT}"
            found += trained(where, values, self.config, to, named, general=True)
        return found


def _widths(model: SubjectModel, config: TaskConfig) -> set[int]:
    """Widths of places at which dictionaries may be trained."""
    if config.places:
        places = [place for text in config.places for place in places_of(text, model)]
        return {model.width(node.hook) for node in _nodes(places)}
    hooks = {point.name for point in model.hooks()} & {"blocks.0.attn.hook_z", "blocks.0.hook_resid_post"}
    return {model.width(Hook(f"{hook}:0") if hook.endswith("hook_z") else hook) for hook in hooks}


def _check_context(model: SubjectModel, task: Task, prompts: Prompted) -> None:
    """Raise `UserError` for a prompt that is longer than what the model reads."""
    for part in (prompts.fit, prompts.test, *prompts.changed.values(), *prompts.corrupted.values()):
        longest = int(part.ends.argmax())
        if (n := int(part.ends[longest]) + 1) > model.n_ctx:
            begins = task.prompt(part.fillings[longest]).text[:60]
            raise UserError(
                f"The prompt of the task {task.name!r} that begins with {begins!r} has {n} tokens.",
                f"at most {model.n_ctx}, as many as {model.name} reads",
                "leave it out, or make it shorter.",
            )


def _nodes(places: Sequence[Place]) -> list[Node]:
    """The nodes of some places, each once."""
    return list(dict.fromkeys(Node.parse(node) for place in places for node in place.nodes))


def _text(everywhere: OfGeneral | None) -> dict[str, str]:
    return {} if everywhere is None else {GENERAL_TEXT: everywhere.id}


def _with_runs(places: Sequence[Place], runs: Sequence[OfRun]) -> list[Place]:
    """All places, and those of dictionaries that are of none of them."""
    found = list(places)
    for run in runs:
        if not any(run.at(_nodes([place])) for place in found):
            node = Node(run.hook, END)
            found.append(Place(name=str(node), words=f"where run {run.name} reads", nodes=(str(node),)))
    return found


def _ids(runs: Sequence[OfRun]) -> dict[str, str]:
    return {f"run {run.name}": run.id for run in runs}


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
    """A name as that of a folder: a long one by its beginning, and by what it is."""
    said = "".join(letter if letter.isalnum() else "-" for letter in name)
    return said if len(said.encode()) <= _LONGEST else f"{said[:_BEGINS]}-{fingerprint(name)[:16]}"
