"""`analyse automata`: an index in, finite-state automata of its latents out."""

from typing import Any

from sparselex.atlas.automata.config import AutomataConfig
from sparselex.atlas.automata.records import FILE, KIND, Automata
from sparselex.base.artifacts import record_of
from sparselex.base.formats import counted
from sparselex.recipes.stage import Stage


class FindAutomata(Stage, AutomataConfig):
    """Look for finite-state automata: latents that raise tokens on which other latents are active next, in circles,
    chosen by training documents, confirmed by test documents, and held against shuffles of the text."""

    verb = "analyse automata"
    needs = ("index",)
    makes = KIND
    work = "sparselex.recipes.work.automata:automata_run"
    gives = "sparselex.recipes.stages.automata:automata_of"

    def shown(self, run: Any) -> Automata:
        return automata_of(run)

    def line(self, run: Any, shown: Automata) -> str:
        several = sum(len(one.states) > 1 for one in shown.automata)
        leads = next(figure for figure in shown.figures if figure.name == "automata/leads")
        by_chance = f"a shuffled text gives {leads.null or 0:.0f}"
        return (
            f"automata of two states or more: {several}, of {counted(shown.n_leads, 'lead')} ({by_chance}), in "
            f"{run.folder / KIND}"
        )


def automata_of(run: Any) -> Automata:
    """What was found in the run's dictionary."""
    run.manifest(KIND)
    return record_of(Automata, run.folder / KIND, FILE)
