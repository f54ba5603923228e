"""Places that a person names: nodes, and published cross-sections."""

from collections.abc import Mapping

from sparselex.base.errors import UserError
from sparselex.evaluate.supervised import published
from sparselex.evaluate.supervised.circuit import OUTPUT, able
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.nodes import Bench, Node
from sparselex.evaluate.supervised.records import Circuit, Place
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import LabelledPrompts, Task


def given_places(
    model: SubjectModel,
    task: Task,
    clean: LabelledPrompts,
    corrupted: Mapping[str, LabelledPrompts],
    config: TaskConfig,
) -> Circuit:
    """The places that a person names, none of them looked for. Raises `UserError` for a model that cannot do the task,
    for a role that it does not have, and for published cross-sections of another model."""
    places = [place for text in config.places for place in places_of(text, model)]
    for node in (Node.parse(node) for place in places for node in place.nodes):
        model.width(node.hook)
        if node.role not in task.roles:
            said = f"{str(node)!r} names the role {node.role!r}."
            raise UserError(said, f"one of the task's: {', '.join(task.roles)}", "correct --places.")
    for place in places:  # what cannot be edited together is refused here
        Bench(model, clean.of(slice(0, 1)), list(map(Node.parse, place.nodes)))
    figures = able(model, task, clean)
    return Circuit(task=task.name, model=model.name, able=figures, heads=[], below=[], n_candidates=0, sections=places)


def places_of(text: str, model: SubjectModel) -> list[Place]:
    """What is meant by one name: nodes, or published cross-sections."""
    if text not in (published.EVERY, *published.SECTIONS):
        nodes = [Node.parse(part) for part in text.split("+")]
        return [Place(name=text, words="as named", nodes=tuple(map(str, nodes)))]
    output = f"blocks.0.{OUTPUT}"
    there = {point.name for point in model.hooks()}
    shape = (model.n_layers, *model.per_head(output)) if output in there else (model.n_layers,)
    if shape != published.SHAPE:
        told = "blocks, heads and dimensions of a head"
        raise UserError(
            f"{text!r} is a cross-section of GPT-2 Small, and {model.name} has {shape} {told}.",
            f"GPT-2 Small: {published.SHAPE}",
            "leave --places out, and its heads are looked for, or name nodes.",
        )
    return [*published.SECTIONS.values()] if text == published.EVERY else [published.SECTIONS[text]]
