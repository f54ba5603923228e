"""`/tasks/<name>`: dictionaries put to a labelled task: whether the model can do it, where, and the three tests."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.occlusion.records import Occlusion, OcclusionRow, sweeps_of
from sparselex.evaluate.supervised.published import Beside, beside_published
from sparselex.evaluate.supervised.records import (
    SUPERVISED,
    AttentionScores,
    Circuit,
    Edit,
    Head,
    Meaning,
    Row,
    TaskResult,
    Tested,
    tasks_begun,
    tasks_in,
)
from sparselex.server.circuit_picture import KINDS, Picture, circuit_picture, kind_of
from sparselex.server.occlusion_charts import lines_of, occlusion_chart
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord
from sparselex.server.pages.notes import dictionaries
from sparselex.server.task_charts import Bars, Edits, Frontier, bars, by_budget, by_removed, kinds_of
from sparselex.server.tried import Tried

Way = Literal["greedy", "greedy without stop", "by meaning"]
"""How latents are chosen for an edit."""

WAYS: dict[Way, str] = {
    "greedy": "those that bring the change nearest, until none does",
    "greedy without stop": "those that bring the change nearest, as many as were asked for",
    "by meaning": "those with the highest F1 for the values",
}
"""The same in words."""

BEST = "best"
"""Instead of one sparsity: of each kind of dictionary the one at which its edits do best."""


class TaskSummary(Config):
    """One task in short."""

    name: str
    """Name of the result in the workspace."""

    task: str
    """The task."""

    model: str
    """The model that does it."""

    n_heads: int
    """Queries, keys, values and outputs of heads in the circuit, each at its token once; 0 where places were named."""

    n_places: int
    """Places that were tested."""

    n_yardsticks: int
    """Places at which a supervised dictionary passed its gates."""


class PlaceSummary(Config):
    """One place in short: how the supervised dictionary does there."""

    name: str
    """What it is called."""

    words: str
    """What it is."""

    yardstick: str
    """The first supervised dictionary that passed all its gates; empty where none did."""

    failed: list[str]
    """Gates that the one of the attributes did not pass."""

    sufficiency: Figure | None
    """Its sufficiency; None where nothing was measured."""

    necessity: Figure | None
    """Its necessity."""

    agreement: dict[str, Figure]
    """Its edit agreement by attribute."""


class TaskPage(PageRecord):
    """`/tasks/<name>`: a task, its circuit, and what dictionaries make of one of its places."""

    name: str
    """Name of the result in the workspace."""

    others: list[str]
    """Other results of the workspace."""

    circuit: Circuit
    """Whether the model can do the task, and where it does."""

    attention: list[AttentionScores]
    """Why its heads look where they do."""

    general: str
    """How many tokens of which text of all kinds dictionaries were trained on."""

    places: list[PlaceSummary]
    """Every place that was tested."""

    tested: Tested | None
    """All that came out at the place that is looked at; None where no place was tested."""

    paged: list[str]
    """Runs whose dictionaries were tested here, and are still those that their pages show."""

    way: Way
    """How latents were chosen for the edits that are shown."""

    setting: str
    """The sparsity that is drawn: `best`, or one that was asked for."""

    settings: list[str]
    """Sparsities that can be chosen at this place."""

    drawn: dict[str, str]
    """Of each kind of dictionary in the frontiers the sparsity that is drawn."""

    occlusion: Occlusion | None
    """What was found at the place as its strongest attribute was taken out; None where that was not done."""

    not_swept: str
    """Why not, where it was asked for."""

    def occlusion_chart(self, row: OcclusionRow) -> Frontier:
        """Values found by how much is subtracted."""
        return occlusion_chart(row)

    def occlusion_lines(self) -> dict[str, str]:
        """What its lines are, by their colours."""
        return lines_of(self.occlusion) if self.occlusion else {}

    def picture(self) -> Picture | None:
        """The circuit as shapes: of each head the larger of its effects."""
        heads = sorted(self.circuit.heads, key=lambda head: abs(head.effect))
        return circuit_picture([*{(head.hook, head.role): head for head in heads}.values()])

    @property
    def rows(self) -> list[Row]:
        """Every row of the place."""
        return self.tested.rows if self.tested else []

    @property
    def edited(self) -> list[str]:
        """Attributes that edits could change."""
        return list(dict.fromkeys(edit.attribute for row in self.rows for edit in row.edits))

    @property
    def budgets(self) -> list[int]:
        """Latents that were exchanged at most."""
        return sorted({edit.k for row in self.rows for edit in row.edits if edit.way == self.way})

    @property
    def named(self) -> list[str]:
        """Attributes that latents were held against."""
        return list(dict.fromkeys(meaning.attribute for row in self.rows for meaning in row.meanings))

    def frontiers(self, attribute: str) -> tuple[Frontier, Frontier] | None:
        """Agreement by budget and by what was removed; None where no row was edited."""
        rows = [row for row in self.rows if self.drawn.get(row.name) == row.setting]
        if self.tested is None or not rows:
            return None
        edits = Edits(rows, self.rows, attribute, self.way, self.tested.unedited.get(attribute))
        return by_budget(edits), by_removed(edits)

    def kinds(self) -> dict[str, str]:
        """The colour of each kind of dictionary."""
        return kinds_of(self.rows)

    def approximation(self) -> dict[str, Bars]:
        """Test 1 of every row."""
        return {
            "sufficiency": bars(self.rows, lambda row: row.sufficiency),
            "necessity": bars(self.rows, lambda row: row.necessity),
        }

    def meanings(self) -> dict[str, Bars]:
        """F1 of every row, by attribute."""
        return {name: bars(self.rows, partial(_f1, name)) for name in self.named}

    def edit(self, row: Row, attribute: str, k: int) -> Edit | None:
        """One cell of the table of edits."""
        found = (edit for edit in row.edits if (edit.attribute, edit.way, edit.k) == (attribute, self.way, k))
        return next(found, None)

    def published(self) -> list[Beside]:
        """Edits of which there are published ones, beside these."""
        return list(beside_published(self.tested)) if self.tested else []

    def ways(self) -> dict[Way, str]:
        """Ways to choose latents, in words."""
        return WAYS

    def does(self, head: Head) -> str:
        """What a head does, in words."""
        return head.kind or KINDS[kind_of(head)]


def task_page(opened: OpenWorkspace, name: str, place: str = "", way: Way = "greedy", setting: str = BEST) -> TaskPage:
    """A task, at one of its places: the first with a yardstick where none is named. Raises `NoSuchPage` for a task, a
    place or a sparsity that there is not."""
    found = tasks_in(opened.workspace.path)
    if name not in found:
        _refuse(opened, name, list(found))
    result = TaskResult.read(found[name])
    tested, sweeps = _chosen(result, place), sweeps_of(found[name].parent)
    settings = _settings(tested)
    if setting not in (BEST, *settings):
        given = f"No dictionary at this place was asked for {setting!r}."
        raise NoSuchPage(given, "one of " + ", ".join((BEST, *settings)), "go back to the task.")
    return TaskPage(
        title=f"{name}: {result.circuit.task}",
        name=name,
        others=[other for other in found if other != name],
        circuit=result.circuit,
        attention=result.attention,
        general=result.general,
        places=[_summary(one) for one in result.tested],
        tested=tested,
        paged=[row.run for row in tested.rows if row.run and _is_shown(opened, row)] if tested else [],
        way=way,
        setting=setting,
        settings=settings,
        drawn=_drawn(tested.rows, way, setting) if tested else {},
        occlusion=sweeps.at(tested.place.name) if sweeps and tested else None,
        not_swept=sweeps.left_out.get(tested.place.name, "") if sweeps and tested else "",
    )


PAGE = Page(path="/tasks/{name}", build=task_page, template=TEMPLATES / "task.html")


def task_summaries(opened: OpenWorkspace, tried: Tried) -> list[TaskSummary]:
    """Every task of the workspace that can be read."""
    folders = tasks_in(opened.workspace.path)
    found = {name: tried(partial(TaskResult.read, folder), None) for name, folder in folders.items()}
    return [
        TaskSummary(
            name=name,
            task=result.circuit.task,
            model=result.circuit.model,
            n_heads=len({(head.hook, head.role) for head in result.circuit.heads}),
            n_places=len(result.tested),
            n_yardsticks=sum(bool(one.yardstick) for one in result.tested),
        )
        for name, result in found.items()
        if result is not None
    ]


def _is_shown(opened: OpenWorkspace, row: Row) -> bool:
    """Whether the pages of a row's run show the dictionary that was tested."""
    return dictionaries(opened).get(row.run) == row.dictionary


def _refuse(opened: OpenWorkspace, name: str, finished: Sequence[str]) -> None:
    if name in tasks_begun(opened.workspace.path):
        raise NotMadeYet(
            f"The task {name!r} was begun and is not finished.",
            "a task that is finished",
            "wait for the command that began it, or give it again: it goes on.",
        )
    if finished:
        raise NoSuchPage(
            f"There is no task {name!r} in this workspace.",
            "one of " + ", ".join(finished),
            "go back to the overview.",
        )
    raise NotMadeYet(
        "No dictionary was put to a task yet.",
        "a workspace with the results of a task",
        f"run `sparselex evaluate ioi {opened.workspace.typed}`.",
    )


def _chosen(result: TaskResult, place: str) -> Tested | None:
    names = [one.place.name for one in result.tested]
    if place and place not in names:
        raise NoSuchPage(f"Nothing was tested at {place!r}.", "one of " + ", ".join(names), "go back to the task.")
    if place:
        return result.tested[names.index(place)]
    return next((one for one in result.tested if one.yardstick), next(iter(result.tested), None))


def _settings(tested: Tested | None) -> list[str]:
    """Sparsities that dictionaries were asked for."""
    asked = [row.setting for row in tested.rows] if tested else []
    return [setting for setting in dict.fromkeys(asked) if setting not in ("", "all")]


def _summary(tested: Tested) -> PlaceSummary:
    supervised = next((row for row in tested.rows if row.name == SUPERVISED), None)
    return PlaceSummary(
        name=tested.place.name,
        words=tested.place.words,
        yardstick=tested.yardstick,
        failed=[gate.name for gate in tested.failed()],
        sufficiency=supervised.sufficiency if supervised else None,
        necessity=supervised.necessity if supervised else None,
        agreement={edit.attribute: edit.agreement for edit in supervised.edits} if supervised else {},
    )


def _drawn(rows: Sequence[Row], way: Way, setting: str) -> dict[str, str]:
    """Of each kind of dictionary that was edited in this way the sparsity to draw; a kind that was not asked for the
    one that is wanted is left out."""
    found = dict[str, list[Row]]()
    for row in rows:
        if any(edit.way == way for edit in row.edits):
            found.setdefault(row.name, []).append(row)
    drawn = dict[str, str]()
    for name, group in found.items():
        wanted = group if setting == BEST else [row for row in group if row.setting in (setting, "", "all")]
        if wanted:
            drawn[name] = max(wanted, key=lambda row: _mean_agreement(row, way)).setting
    return drawn


def _mean_agreement(row: Row, way: Way) -> float:
    """Over all attributes and budgets; what failed counts as none."""
    values = [edit.agreement.value or 0.0 for edit in row.edits if edit.way == way]
    return sum(values) / len(values)


def _f1(attribute: str, row: Row) -> Figure | None:
    found: list[Meaning] = [meaning for meaning in row.meanings if meaning.attribute == attribute]
    return found[0].f1 if found else None
