"""What was measured of concepts that are known, made up: every measure once, and what was not measured."""

from sparselex.base.figures import Failure, Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.staging import stage
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.records import (
    DENSE,
    FILE,
    KIND,
    AblationRow,
    Ablations,
    Concept,
    Probed,
    ProbeRow,
    Ravel,
    RavelRow,
)
from sparselex.recipes.run import Run

MARKUP = '<b onclick="x()">'


def figure(value, null=None) -> Figure:
    return Figure(name="probes/a", value=value, ci_low=value - 0.125, ci_high=value, null=null, n=7, definition="said")


def row(name, k, value) -> ProbeRow:
    return ProbeRow(name=name, k=k, auroc=figure(value, 0.5), accuracy=figure(value), f1=figure(value))


FOUND = Probed(
    concepts=[
        Concept(
            texts="people",
            name="gender: female",
            n_fit=10,
            n_test=11,
            majority=0.5,
            rows=[row("latents", 1, 0.625), row("latents", 5, 0.75), row("neurons", 5, 0.875), row(DENSE, 0, 0.96875)],
        )
    ],
    ablations=[
        Ablations(
            metric="tpp",
            texts="people",
            name="field",
            rows=[AblationRow(name="latents", n=5, score=figure(0.1875, 0.03125), spread=0.25)],
        ),
        Ablations(metric="scr", texts="people", name="gender, bound to field", failure="it cost too little"),
    ],
    ravel=Ravel(
        able={"country": figure(0.9)},
        n_entities=37,
        rows=[RavelRow(name="latents", n=5, cause=figure(0.25), isolation=figure(0.5), disentangled=figure(-0.25))],
    ),
    failures=[Failure(subject=f"code: {MARKUP}", reason="too few")],
)


def put_probes(run: Run) -> None:
    """Write it as a run's artifact."""
    with stage(run.folder / KIND, KIND, ProbesConfig(), {}) as staging:
        write_json(staging.folder / FILE, FOUND.to_json())
        Figures(figures=[]).write(staging.folder)
        staging.finish()
