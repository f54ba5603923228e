"""What came out of a task: plain values, read by pages and reports without PyTorch."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST, record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.supervised.split_records import Splitting

CIRCUIT, ACTIVATIONS, TESTED, SUMMARY = "circuit", "task activations", "task tests", "task"
"""Kinds of artifacts: where a task is computed, what dictionaries make of one place, and all of it."""

CIRCUIT_FILE, TESTED_FILE, SUMMARY_FILE = "circuit.json", "tests.json", "task.json"

SUPERVISED, SHUFFLED = "supervised", "shuffled labels"
"""Rows that are made of labels: of the right ones, and of those of other prompts."""


class Head(Config):
    """One head at one token, as patching found it."""

    hook: str
    """Its hook."""

    role: str
    """The token."""

    effect: float
    """Share of the effect of corruption that its own value undoes, all else corrupted."""

    corruption: str = ""
    """In which way the answer was lost."""

    estimate: float
    """The same as attribution patching estimated it."""

    direct: float
    """The part of the effect that goes straight to the logits."""

    looks_at: dict[str, float] = {}
    """Mean attention from this token to each role; of a head's output alone."""

    kind: str = ""
    """What it does, in a word or two."""

    @property
    def writes(self) -> bool:
        """Whether it writes the answer itself: at least half of its effect goes straight to the logits."""
        return self.direct != 0 and abs(self.direct) >= abs(self.effect) / 2


class Circuit(Config):
    """Where a task is computed in a model."""

    task: str
    """The task."""

    model: str
    """The model."""

    able: list[Figure]
    """Whether the model can do it."""

    heads: list[Head]
    """Heads above the threshold, by layer."""

    below: list[Head]
    """The others that were patched."""

    corruptions: dict[str, str] = {}
    """Ways to lose the answer, in words."""

    n_candidates: int
    """Places that attribution ranked."""

    missed: list[Figure] = []
    """How far the ranking can be trusted."""

    sections: list["Place"] = []
    """Places at which dictionaries are tested."""

    skipped: dict[str, int] = {}
    """What was left out of the task, and how many of each: words that the tokenizer cuts, prompts of a file that have
    no counterpart."""

    @classmethod
    def read(cls, folder: Path) -> "Circuit":
        """What was found, from its artifact. Raises `UserError` if it is missing or damaged."""
        return record_of(Circuit, folder, CIRCUIT_FILE)


class Place(Config):
    """Nodes that are edited together."""

    name: str
    """What it is called."""

    words: str
    """What it is."""

    nodes: tuple[str, ...]
    """`HOOK@ROLE` of each."""


class Edit(Config):
    """What exchanging some latents does for one attribute."""

    attribute: str
    """Which."""

    way: str
    """How latents were chosen: `greedy`, `greedy without stop` or `by meaning`."""

    k: int
    """How many at each node, at most."""

    agreement: Figure
    """Share of the prompts on which the most likely token is that of the run with the true values."""

    removed: float
    """Mean share of the reconstruction that was taken out."""

    n_exchanged: float
    """Mean number of latents exchanged."""


class Meaning(Config):
    """How well single latents stand for the values of one attribute."""

    attribute: str
    """Which."""

    f1: Figure
    """Mean over values of the F1, on held-out prompts, of the latent that was best for the value on others."""

    n_known: Figure
    """Share of the values that a latent stands for."""

    unions: Figure
    """Mean over latents that fire of the F1 of the best union of values."""


class Row(Config):
    """One kind of dictionary at one place, at one sparsity: means over its seeds."""

    name: str
    """What it is: `supervised`, `topk`, `pca`, ..."""

    setting: str
    """How sparse it was asked to be."""

    n_seeds: int
    """Dictionaries that the figures are means over."""

    l0: float | None = None
    """Latents active on a test prompt."""

    silent: float | None = None
    """Share of the latents that are active on no prompt that dictionaries are made of."""

    fvu: float | None = None
    """Share of the variance that reconstructions leave out, on test prompts."""

    sufficiency: Figure
    """Test 1."""

    necessity: Figure
    """Test 1."""

    edits: list[Edit] = []
    """Test 2."""

    meanings: list[Meaning] = []
    """Test 3."""

    causal: list[Figure] = []
    """Test 3, by what it does: sufficiency and necessity of those latents that stand for a value."""

    splits: list[Splitting] = []
    """Of each value of each attribute that has two, whether it is split over many latents."""

    spread: dict[str, float] = {}
    """Standard deviation over seeds of some of the means."""


class Gate(Config):
    """One condition under which a supervised dictionary is a yardstick."""

    name: str
    """What it says."""

    value: float | None
    """What was measured; None where it could not be."""

    wanted: str
    """What it had to be."""

    passed: bool
    """Whether it was."""


class Tested(Config):
    """What came out at one place."""

    place: Place
    """Where."""

    gates: list[Gate]
    """Whether the supervised dictionary is a yardstick here."""

    unedited: dict[str, Figure]
    """Of each attribute the agreement without any edit."""

    undecided: dict[str, str] = {}
    """Attributes that were left out, and why."""

    rows: list[Row]
    """What was tested; the supervised rows alone where there is no yardstick."""

    @property
    def is_yardstick(self) -> bool:
        """Whether all conditions hold."""
        return all(gate.passed for gate in self.gates)

    @classmethod
    def read(cls, folder: Path) -> "Tested":
        """What came out, from its artifact. Raises `UserError` if it is missing or damaged."""
        return record_of(Tested, folder, TESTED_FILE)


class TaskResult(Config):
    """All of a task."""

    circuit: Circuit
    """Where it is computed."""

    tested: list[Tested]
    """Place by place."""

    @classmethod
    def read(cls, folder: Path) -> "TaskResult":
        """What came out, from its artifact. Raises `UserError` if it is missing or damaged."""
        return record_of(TaskResult, folder, SUMMARY_FILE)


def tasks_in(workspace: Path) -> dict[str, Path]:
    """The finished tasks of a workspace's folder by name, each with the artifact that `TaskResult.read` reads."""
    folders = sorted(path.parent for path in workspace.glob(f"tasks/*/summary/{MANIFEST}"))
    return {folder.parent.name: folder for folder in folders}


def tasks_begun(workspace: Path) -> list[str]:
    """Names of tasks of which something is finished, and not all of it."""
    found = {path.parents[1].name for path in workspace.glob(f"tasks/*/circuit/{MANIFEST}")}
    return sorted(found - tasks_in(workspace).keys())
