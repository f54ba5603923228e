"""What a sceptic reads first of a dictionary: what was asked of it, what it was held against, what it beat and what it
did not, and what nobody has asked yet. Words made from figures; no tensors here."""

from collections.abc import Sequence

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import count, percent
from sparselex.base.workspace import Workspace
from sparselex.evaluate.answers import NOT_MEASURED, STABLE
from sparselex.evaluate.apart import is_apart
from sparselex.evaluate.config import control_words
from sparselex.evaluate.model_features.records import KIND as MODEL_FEATURES
from sparselex.evaluate.model_features.records import Compared, ModelFeatures
from sparselex.evaluate.model_features.words import Answered, TwinCard, against_null, answers, in_short
from sparselex.evaluate.model_features.words import summary as in_words
from sparselex.evaluate.records import Answer, Comparison, Report
from sparselex.evaluate.supervised.frontier import asked, edit_frontiers
from sparselex.evaluate.twins import differing, words_of
from sparselex.lm.embedded import EMBEDDED

QUESTIONS = {
    "evaluation": ("evaluate", "whether it reconstructs better than controls, and whether the model still works"),
    "explanations": ("explain", "whether what is said of its latents predicts them"),
    "controls": ("controls", "whether what is said of its latents is better than what is said of controls"),
    "effects": ("effects", "what the model does without its latents"),
    "probes": ("evaluate probes", "whether its latents tell concepts that are known"),
    MODEL_FEATURES: ("evaluate model-features", "whether its latents are the model's own"),
}
"""What can be asked of a dictionary, by the artifact that answers: the verb, and the question."""

_EDITS = "whether exchanging a few of its latents changes what the model knows in a task"


class Held(Config):
    """A dictionary against one control, or against its nulls."""

    name: str
    """The control; empty for the nulls."""

    words: str
    """What it is."""

    beat: list[str]
    """Figures that are better, by their names."""

    lost: list[str]
    """Figures that are worse."""

    undecided: list[str]
    """Figures of which it cannot be told."""


class DictionaryVerdict(Config):
    """What is to be thought of a dictionary."""

    run: str
    """Its run."""

    summary: str
    """In a few sentences, first what speaks against it."""

    answers: list[Answer]
    """What a sceptic asks first, with answers."""

    nulls: Held
    """Every figure that has a null against it."""

    controls: list[Held]
    """Every figure against each control, all comparisons of the report counted together."""

    model: list[Answered]
    """Whether it is one of the model, question by question; empty where that was not measured."""

    edits: list[Answered]
    """Whether few of its latents exchange what a task knows, task by task; empty where it was put to none."""

    unanswered: dict[str, str]
    """What was not asked, with the command that asks."""


def verdict_of(
    workspace: Workspace, found: Report, card: ModelFeatures | None, twins: Sequence[TwinCard] = ()
) -> DictionaryVerdict:
    """The verdict on the dictionary of a run of a workspace, from its report, its model-feature card and those of its
    twins."""
    controls = [
        _held(name, _words(workspace, found.run, name), [one for one in found.comparisons if one.control == name])
        for name in _names(found)
    ]
    nulls = _against_nulls(found.figures)
    made = [name for name in workspace.artifacts(found.run) if name not in found.stale]
    unanswered = {
        question: f"sparselex {verb} {workspace.typed} --run {found.run}"
        for artifact, (verb, question) in QUESTIONS.items()
        if artifact not in made
    }
    model = answers(card) if card else []
    frontiers = edit_frontiers(workspace.path, found.run, _dictionary(workspace, found.run))
    edits = [said for one in frontiers if (said := asked(one))]
    if not edits and workspace.has_run(found.run):
        model_name = workspace.card(found.run).model
        task = "brackets" if model_name in EMBEDDED else "ioi"  # whose names are no tokens of the embedded models
        of = f"--task {task} --model {model_name} --runs {found.run}"
        unanswered[_EDITS] = f"sparselex evaluate task {workspace.typed} {of}"
    return DictionaryVerdict(
        run=found.run,
        summary=_summary(controls, nulls, _of_model(card, twins, edits), unanswered),
        answers=[_with_others(workspace, one, found.run, card) for one in found.answers],
        nulls=nulls,
        controls=controls,
        model=model,
        edits=edits,
        unanswered=unanswered,
    )


def _dictionary(workspace: Workspace, run: str) -> str:
    """Id of the dictionary that a run has now; empty where it has none."""
    made = workspace.artifacts(run).get("dictionary")
    return made.id if made else ""


def _words(workspace: Workspace, run: str, name: str) -> str:
    """What a control is: a run of its own, or directions."""
    if workspace.has_run(name) and (card := workspace.card(name)).twin_of == run:
        return f"a run of its own: {words_of(workspace, card)}"
    return control_words(name)


def _names(found: Report) -> list[str]:
    return list(dict.fromkeys(one.control for one in found.comparisons))


def _held(name: str, words: str, compared: Sequence[Comparison]) -> Held:
    of = lambda verdict: [one.figure for one in compared if one.verdict == verdict]
    return Held(name=name, words=words, beat=of("better"), lost=of("worse"), undecided=of("undecided"))


def _against_nulls(figures: Sequence[Figure]) -> Held:
    # Of a pair or a decomposition, which has controls of its own, and may be of other weights than the dictionary.
    own = [one for one in figures if not is_apart(one.name)]
    asked = [one for one in own if one.value is not None and one.null is not None and one.better]
    of = lambda verdict: [one.name for one in asked if against_null(one) == verdict]
    words = "the same figures where there is nothing to find"
    return Held(name="", words=words, beat=of("better"), lost=of("worse"), undecided=of("undecided"))


def _with_others(workspace: Workspace, one: Answer, run: str, card: ModelFeatures | None) -> Answer:
    """An answer of the report; whether it is stable also by what the card compares it with, where nothing else was
    measured."""
    if one.question != STABLE or one.answer != NOT_MEASURED or not card or not card.compared:
        return one
    said = [line for other in card.compared if (line := _found_again(workspace, run, other))]
    if not said:
        return one
    return one.model_copy(update={"answer": f"Not measured by a sweep of seeds. {' '.join(said)}"})


def _found_again(workspace: Workspace, run: str, other: Compared) -> str:
    name = f"{MODEL_FEATURES}/found_again"
    figure = next((one for one in other.figures if one.name == name), None)
    if figure is None or figure.value is None:
        return ""
    what = differing(workspace, run, other.run) or other.words
    chance = "" if figure.null is None else f", {percent(figure.null)} by chance"
    known = figure.ci_low is not None and figure.ci_high is not None
    ends = f" ({percent(figure.ci_low or 0.0)} to {percent(figure.ci_high or 0.0)})" if known else ""
    return f"In run {other.run} ({what}) {percent(figure.value)}{ends} of its latents are found again{chance}."


def _of_model(card: ModelFeatures | None, twins: Sequence[TwinCard], edits: list[Answered]) -> str:
    if card:
        return in_words(card, twins, edits)
    return in_short(edits) if edits else ""


def _summary(controls: list[Held], nulls: Held, model: str, unanswered: dict[str, str]) -> str:
    asked = sum(len(one.beat) + len(one.lost) + len(one.undecided) for one in controls)
    said = []
    if asked:
        lost, beat = (sum(len(getattr(one, name)) for one in controls) for name in ("lost", "beat"))
        worst = [one.name for one in controls if one.lost]
        to = f", to {', '.join(worst)}" if worst else ""
        said.append(
            f"Held against {_of(len(controls), 'control')} by {_of(asked, 'comparison')} it loses {count(lost)}{to}, "
            f"wins {count(beat)}, and {count(asked - lost - beat)} are undecided."
        )
    else:
        said.append("It was held against no control: nothing that is said of it here is known to be its own.")
    if nulls.lost:
        said.append(f"{_of(len(nulls.lost), 'figure')} are worse than where there is nothing to find.")
    if model:
        said.append(model)
    if unanswered:
        said.append(f"{_of(len(unanswered), 'question')} nobody has asked yet.")
    return " ".join(said)


def _of(n: int, word: str) -> str:
    return f"{count(n)} {word}{'' if n == 1 else 's'}"
