"""The reproduction as it is shown: figures are read where they lie, each only if it is of what its run has now, and
what is said of a claim is made anew from them, by the rules that hold now."""

from sparselex.base.artifacts import MANIFEST, read_manifest, record_of
from sparselex.base.figures import Figure
from sparselex.base.workspace import Workspace
from sparselex.evaluate.gathered import fresh
from sparselex.evaluate.monosemanticity.claims import CLAIMS, Claim
from sparselex.evaluate.monosemanticity.judges import Found, judged
from sparselex.evaluate.monosemanticity.records import (
    FILE,
    Beside,
    ClaimFound,
    Replication,
    Roles,
    replication_folder,
)

Measured = dict[tuple[str, str], Figure]
"""Figures by run and name."""


def replication_of(workspace: Workspace) -> Replication | None:
    """What was reproduced in a workspace; None where nothing was. Raises `UserError` where it is damaged."""
    folder = replication_folder(workspace.path)
    return record_of(Replication, folder, FILE) if (folder / MANIFEST).is_file() else None


def changed_since(workspace: Workspace, roles: Roles) -> list[str]:
    """Runs of the reproduction that are gone, or have another dictionary than the recipe gave them."""
    inputs = read_manifest(replication_folder(workspace.path)).inputs
    now = lambda run: read_manifest(workspace.run(run) / "dictionary").id if workspace.has(run, "dictionary") else None
    return [run for run in dict.fromkeys(roles.every) if now(run) != inputs.get(f"{run}/dictionary")]


def still_left_out(workspace: Workspace, made: Replication) -> dict[str, str]:
    """What the recipe could not make and nobody has made since."""
    there = lambda what: workspace.has(what.partition(": ")[0], what.rpartition(" ")[2])
    return {what: why for what, why in made.left_out.items() if not there(what)}


def measured_in(workspace: Workspace, roles: Roles) -> tuple[Measured, dict[str, str]]:
    """Figures of all runs of the reproduction, and which artifacts are left out, as `run/artifact`, with the reasons.
    Raises `UserError` for a damaged file."""
    found, stale = Measured(), dict[str, str]()
    for run in roles.every:
        if not workspace.has_run(run):
            continue
        artifacts, old = fresh(workspace, run, workspace.card(run))
        found |= {(run, figure.name): figure for figures in artifacts.values() for figure in figures.figures}
        stale |= {f"{run}/{name}": why for name, why in old.items()}
    return found, stale


def claims_of(measured: Measured, roles: Roles) -> list[ClaimFound]:
    """Every claim of the paper with our figures beside its own."""
    found = Found(measured, roles)
    return [_claim(claim, found, measured, roles) for claim in CLAIMS]


def _claim(claim: Claim, found: Found, measured: Measured, roles: Roles) -> ClaimFound:
    names = roles.to_json()
    verdict = judged(claim.judge, found)
    return ClaimFound(
        name=claim.name,
        title=claim.title,
        claim=claim.claim,
        rows=[
            Beside(
                words=row.words,
                run=names[row.role],
                figure=measured.get((names[row.role], row.name.format(**names))),
                paper=row.paper,
            )
            for row in claim.rows
        ],
        reproduced=verdict.reproduced,
        verdict=verdict.words,
        why=claim.why,
        pages=[f"{names[role]}/{page}".rstrip("/") for role, page in claim.pages],
    )
