"""What came of training two dictionaries around an MLP together, as it lies on disk. No tensors here: command line and
browser read it."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST, record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.workspace import Workspace

KIND = "pair card"
"""Kind of the artifact."""

PAIR = "pair"
"""Field of the configuration of a dictionary that came of a pair: which, and of what run."""

FOLDER, CARD, FILE = "pairs", "card", "pair.json"
"""Folder of a workspace in which pairs lie, by their names; that of the artifact in a pair's, and its record."""

PENALISED, PLAIN, RANDOM, RANDOM_PLAIN = "penalised", "plain", "random", "random-plain"
"""The trained pairs, which lie beside the card under these names: with the penalty, without it, and both on the model
with weights drawn anew."""

ARMS = {
    PENALISED: "with the penalty",
    PLAIN: "without the penalty",
    RANDOM: "random weights, with the penalty",
    RANDOM_PLAIN: "random weights, without it",
}
"""What each is, in words; of the controls also what they are called beside a figure."""

THRESHOLDS = (0.005, 0.01, 0.02, 0.04)
"""Sizes of an entry, as a share of the length of its token's Jacobian, above which entries are counted."""


_LESS = ("gained", "learned")


class Arm(Config):
    """One trained pair."""

    name: str
    """Its name, which is that of its folder."""

    words: str
    """What it is."""

    model: str
    """Id of the model that it was trained on."""

    weight: float
    """Weight of the penalty."""

    n_tokens: int
    """Tokens that it was trained on."""

    n_dead: int
    """Latents of both that were silent at the end of training."""


class PairCard(Config):
    """Two dictionaries around an MLP that were trained together, beside their controls."""

    name: str
    """Its name."""

    model: str
    """The model."""

    hooks: tuple[str, str]
    """What the MLP reads and what it writes."""

    parents: tuple[str, str]
    """Runs whose types, sizes and text were taken."""

    runs: tuple[str, str]
    """Runs that the dictionaries trained with the penalty became."""

    weight: float
    """Weight of the penalty."""

    arms: list[Arm]
    """The pairs that were trained."""

    n_tokens: int
    """Test tokens that the Jacobians are of."""

    n_documents: int
    """Documents that these are of."""

    figures: list[Figure]
    """Of the pair with the penalty, those of the others among their controls; then what is gained over the others."""

    @property
    def own(self) -> list[Figure]:
        """Figures of the pair with the penalty."""
        return [one for one in self.figures if one.name.split("/")[1] not in _LESS]

    @property
    def differences(self) -> list[Figure]:
        """What these are less those of the pair without the penalty, and of the one on random weights."""
        return [one for one in self.figures if one.name.split("/")[1] in _LESS]

    def figure(self, name: str) -> Figure | None:
        """One figure by its path, with or without the first word."""
        return next((one for one in self.figures if one.name in (name, f"pair/{name}")), None)


def pairs_in(workspace: Path) -> list[str]:
    """Names of the pairs that are finished, in order."""
    folder = workspace / FOLDER
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(one.name for one in inside if (one / CARD / MANIFEST).is_file())


def pair_card(workspace: Workspace, name: str) -> PairCard:
    """One of them. Raises `UserError` if it is not there, or not as it was written."""
    return record_of(PairCard, workspace.path / FOLDER / name / CARD, FILE)


def pairs_of(workspace: Workspace, run: str) -> list[str]:
    """Names of those that a run has a part in, as a parent or as what came of it."""
    cards = [pair_card(workspace, name) for name in pairs_in(workspace.path)]
    return [card.name for card in cards if run in (*card.parents, *card.runs)]
