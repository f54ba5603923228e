"""Two small runs around the embedded model's MLP, and the card of a pair."""

from pathlib import Path

import numpy as np

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import FIGURES, Figures
from sparselex.base.files import write_json
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.pairs.records import ARMS, CARD, FILE, FOLDER, KIND, PENALISED, Arm, PairCard
from sparselex.recipes.pairs import CardConfig
from sparselex.recipes.run import Run
from tests.support.small import small_config, write_documents

BEFORE, BEHIND = "before", "behind"
OPTIONS = {"into": BEHIND, "n_tokens": 12_000, "rows": 24, "every": 4}


def around_mlp(folder: Path, **training) -> Workspace:
    """A workspace with a run at what the MLP reads and one at what it writes."""
    workspace, text = Workspace.create(folder / "w"), write_documents(folder / "text", 60)
    values = {"kind": "topk", "expansion": 1, "k": 8, "n_tokens": 8_000} | training
    for name, site in ((BEFORE, "in"), (BEHIND, "out")):
        config = small_config(text, values, hook=f"blocks.0.hook_mlp_{site}")
        Run.create(workspace, name, config).do("train")
    return workspace


def put_pair(
    workspace: Workspace, name: str = "main-jacobian", runs: tuple[str, str] | None = None, trained: str = ""
) -> PairCard:
    """The card of a pair that two runs of the workspace are said to have been trained as: a record to look at.
    `trained` is the id that the trained pair is said to have."""
    draws, controls = np.random.default_rng(0), list(ARMS.values())[1:]

    def figure(path: str, null: float):
        found = mean_figure(f"pair/{path}", draws.uniform(size=50), f"what {path} is", over="documents", null=null)
        return found.model_copy(update={"controls": dict.fromkeys(controls, 0.75)} if null else {})

    own = [figure(f"{where}fvu", 1.0) for where in ("x/", "y/")] + [figure("jacobian_edges", 0.5)]
    less = [figure(f"{words}/jacobian_edges", 0.0) for words in ("gained", "learned")]
    arms = [
        Arm(name=one, words=words, model="0" * 16, weight=0.5, n_tokens=1000, n_dead=3) for one, words in ARMS.items()
    ]
    card = PairCard(
        name=name,
        model="embedded",
        hooks=("blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"),
        parents=("main", "twin"),
        runs=runs or (name, f"gone-{name}"),
        weight=0.5,
        arms=arms,
        n_tokens=3000,
        n_documents=50,
        figures=[*own, *less],
    )
    config, inputs = CardConfig(rows=1, seed=0, weight=0.5), {PENALISED: trained}
    with stage(workspace.path / FOLDER / name / CARD, KIND, config, inputs) as staging:
        write_json(staging.folder / FILE, card.to_json())
        Figures(figures=card.figures).write(staging.folder)
        staging.finish(files=dict.fromkeys([FILE, FIGURES]))
    return card
