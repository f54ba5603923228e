"""The automata that a feature is a state of, and what it leads to, as its page shows them."""

from sparselex.atlas.automata.records import Lead
from sparselex.base.config import Config
from sparselex.server.automata_views import found_automata
from sparselex.server.opened import OpenWorkspace

_MOST = 5
"""Leads that are shown each way."""


class LeadView(Config):
    """A lead from or to this feature."""

    latent: int
    """The other feature; this one, where it leads to itself."""

    title: str
    """Its tokens that carry the lead."""

    weight: float
    """Weight in test documents."""


class StateOfView(Config):
    """An automaton that the feature is a state of."""

    number: int
    """Its number."""

    others: list[int]
    """Its other latents."""


class AutomataOfView(Config):
    """What a feature is in the automata of its run."""

    state_of: list[StateOfView]
    """Automata that it is a state of."""

    to: list[LeadView]
    """What it leads to, the strongest first."""

    come_from: list[LeadView]
    """What leads to it."""


def automata_of_view(opened: OpenWorkspace, run: str, latent: int) -> AutomataOfView | None:
    """None where no automata were looked for in the index as it is now."""
    made = found_automata(opened, run)
    if made is None:
        return None
    label, found = opened.index(run).texts.label, made.found

    def views(leads: list[Lead], *, to: bool) -> list[LeadView]:
        return [
            LeadView(
                latent=lead.target if to else lead.source,
                title=" ".join(label(one.token) for one in lead.carriers[:3] if one.share >= 0.05),
                weight=lead.test,
            )
            for lead in leads[:_MOST]
        ]

    own = [found.automata[number] for number in made.by_latent.get(latent, [])]
    return AutomataOfView(
        state_of=[
            StateOfView(number=one.number, others=[other for other in one.latents if other != latent]) for one in own
        ],
        to=views([lead for lead in found.leads if lead.source == latent], to=True),
        come_from=views([lead for lead in found.leads if lead.target == latent and lead.source != latent], to=False),
    )
