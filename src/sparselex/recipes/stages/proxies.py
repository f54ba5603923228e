"""`analyse proxies`: an index in, the features that carry each of the shipped concepts out."""

from typing import Any

from sparselex.atlas.proxies.config import ProxiesConfig
from sparselex.atlas.proxies.records import FILE, KIND, ProxiesFound
from sparselex.base.artifacts import record_of
from sparselex.base.formats import counted, fixed
from sparselex.recipes.finding import random_twins, rules_of
from sparselex.recipes.stage import Stage


class Proxies(Stage, ProxiesConfig):
    """Look for the features that carry concepts told by rules of the text (hexadecimal digits, docstrings, names,
    scripts): how specific and how sensitive they are on held-out documents, beside chance, the best neuron and the
    random-weight twin."""

    verb = "analyse proxies"
    needs = ("index",)
    makes = KIND
    work = "sparselex.recipes.work.proxies:proxies_run"
    gives = "sparselex.recipes.stages.proxies:proxies_of"

    def facts(self, run: Any) -> dict[str, Any]:
        """The twins beside which they are measured, and the rules."""
        return {"twins": random_twins(run.workspace, run.name), "rules": rules_of(self.proxies)}

    def shown(self, run: Any) -> ProxiesFound:
        return proxies_of(run)

    def line(self, run: Any, shown: ProxiesFound) -> str:
        share = next(one for one in shown.figures if one.name == "proxies/specific_share")
        n, concepts = round((share.value or 0.0) * share.n), counted(len(shown.concepts), "concept")
        beside = {"chance": share.null or 0.0, **share.controls}
        told = ", ".join(f"{name} {fixed(value, 2)}" for name, value in beside.items())
        return (
            f"{n} of {concepts} have a feature of specificity above 0.9 where it is highly active: "
            f"{fixed(share.value or 0.0, 2)} ({told}). `sparselex serve {run.workspace.typed}` shows them at "
            f"/runs/{run.name}/proxies."
        )


def proxies_of(run: Any) -> ProxiesFound:
    """What was found of the shipped concepts."""
    run.manifest(KIND)
    return record_of(ProxiesFound, run.folder / KIND, FILE)
