"""What came out of a task: plain values, read by pages and reports without PyTorch."""

from collections.abc import Sequence
from pathlib import Path

from sparselex.base.artifacts import MANIFEST, record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.supervised.split_records import Splitting

CIRCUIT, ACTIVATIONS, ATTENTION, TESTED, SUMMARY = "circuit", "task activations", "attention", "task tests", "task"
"""Kinds of artifacts: where a task is computed, what is there, why heads look where they do, what dictionaries make of
one place, and all of it."""

CIRCUIT_FILE, ATTENTION_FILE, TESTED_FILE, SUMMARY_FILE = "circuit.json", "attention.json", "tests.json", "task.json"

DECIDED = "some attribute is decided here"
"""The gate without which the others that ask for edits cannot be asked."""

SUPERVISED, SHUFFLED = "supervised", "shuffled labels"
"""Rows that are made of labels: of the right ones, and of those of other prompts."""

FROZEN, GENERAL_TEXT = "frozen decoder", "general text"
"""Rows of a decoder that never learned, and what follows a kind's name where it was trained on text of all kinds."""

GREEDY, LABELS = "greedy", "labels"
"""Ways to choose what is exchanged: what brings the change nearest, until nothing does; and what labels say."""


class Head(Config):
    """One head at one token, as patching found it."""

    hook: str
    """Its hook."""

    role: str
    """The token."""

    effect: float
    """Share of the effect of corruption that its own value undoes, all else corrupted; 0 for what does nothing."""

    ci_low: float | None = None
    """Lower end of its 95 % jackknife interval over prompts; None where there is none."""

    ci_high: float | None = None
    """Upper end."""

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


class Standing(Config):
    """The latent that stands best for one value of an attribute."""

    value: str
    """The value."""

    latent: int
    """The latent whose F1 is highest on the prompts that dictionaries are made of."""

    f1: float
    """Its F1 on tested prompts."""

    null: float
    """The same of the best of as many random directions that fire as often."""


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

    latents: list[Standing] = []
    """Of a run's dictionary, whose latents have pages, the one for each value that tested prompts have."""


class Row(Config):
    """One kind of dictionary at one place, at one sparsity: means over its seeds."""

    name: str
    """What it is: `supervised`, `topk`, `pca`, ..."""

    setting: str
    """How sparse it was asked to be."""

    run: str = ""
    """The run of which it is the dictionary; empty for what was made for the task."""

    dictionary: str = ""
    """Id of that dictionary."""

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


def passes(gates: Sequence[Gate]) -> bool:
    """Whether a supervised dictionary is a yardstick: all that has to hold does."""
    return all(gate.passed for gate in gates)


class Tested(Config):
    """What came out at one place."""

    place: Place
    """Where."""

    gates: dict[str, list[Gate]]
    """Of each supervised dictionary, by the name of its row, whether it is a yardstick here."""

    unedited: dict[str, Figure]
    """Of each attribute the agreement without any edit."""

    undecided: dict[str, str] = {}
    """Attributes that were left out, and why."""

    rows: list[Row]
    """What was tested; the supervised rows alone where there is no yardstick."""

    @property
    def yardstick(self) -> str:
        """The row that others are held against: the first supervised dictionary that passes all its gates; empty where
        none does, and nothing is scored."""
        return next((name for name, gates in self.gates.items() if passes(gates)), "")

    def failed(self, name: str = SUPERVISED) -> list[Gate]:
        """The gates that a supervised dictionary did not pass."""
        return [gate for gate in self.gates[name] if not gate.passed]

    @classmethod
    def read(cls, folder: Path) -> "Tested":
        """What came out, from its artifact. Raises `UserError` if it is missing or damaged."""
        return record_of(Tested, folder, TESTED_FILE)


class Pair(Config):
    """One term of an attention score: a part of the query with a part of the key."""

    query: str
    """A variable; `mean` for what all prompts have, `rest` for what no vector says."""

    key: str
    """The same of the key."""

    mean: float
    """Its mean over prompts."""

    size: float
    """The root of its mean square."""

    share: float | None
    """Its covariance with the score over the score's variance: the shares of all pairs sum to 1."""


class AttentionScores(Config):
    """Why a head looks at a token: its score there as a sum over pairs."""

    head: str
    """Hook of its output."""

    at: str
    """The token from which it looks."""

    role: str
    """The token at which it looks, or `A less B` for the difference of two."""

    score: Figure
    """The score before the softmax."""

    explained: Figure
    """How much of its variance the supervised dictionaries of query and key say together."""

    pairs: list[Pair]
    """All terms."""

    left: float
    """The largest difference between the score and the sum of all terms, in standard deviations of the score: more than
    rounding where a head is not linear in its query and key."""

    def strongest(self, n: int = 4) -> list[Pair]:
        """The largest terms."""
        return sorted(self.pairs, key=lambda pair: -pair.size)[:n]


class Attention(Config):
    """Why the heads look where they do."""

    heads: list[AttentionScores]
    """Head by head, token by token."""

    @classmethod
    def read(cls, folder: Path) -> "Attention":
        """What was found, from its artifact. Raises `UserError` if it is missing or damaged."""
        return record_of(Attention, folder, ATTENTION_FILE)


class TaskResult(Config):
    """All of a task."""

    circuit: Circuit
    """Where it is computed."""

    tested: list[Tested]
    """Place by place."""

    attention: list[AttentionScores] = []
    """Why the heads look where they do."""

    general: str = ""
    """How many tokens of which text of all kinds were read; empty where none were."""

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
