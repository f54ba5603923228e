"""Automata as pages show them: states with labels and tokens, arrows with what carries them."""

from pathlib import Path
from typing import NamedTuple

from sparselex.atlas.automata.records import FILE, KIND, Automata, Automaton, Lead
from sparselex.base.artifacts import read_manifest, record_of
from sparselex.base.config import Config
from sparselex.explain.records import Entry
from sparselex.server.automata_picture import Picture, picture
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import NotMadeYet

_TOKENS = 5
"""Tokens that are told of a state."""


class StateView(Config):
    """A state."""

    latent: int
    """Its latent; of several the most often active one."""

    others: list[int]
    """Its other latents, duplicates of that one."""

    title: str
    """What the first explanation says of it, in short; empty if there is none."""

    tokens: list[str]
    """Tokens on which it is most often active."""

    raises: list[str]
    """Tokens that it raises."""

    train: float | None
    """Share of its places in training documents behind which one of these stands; None where it leads nowhere."""


class CarrierView(Config):
    """A token behind which a lead stands."""

    text: str
    """The token."""

    share: float
    """Its share."""


class ArrowView(Config):
    """A lead from state to state."""

    source: int
    """Number of the state."""

    target: int
    """Number of the state that it leads to."""

    lead: Lead
    """What was measured."""

    carriers: list[CarrierView]
    """The tokens that carry most of it."""

    @property
    def words(self) -> str:
        """What stands beside the arrow."""
        return " ".join(one.text for one in self.carriers[:2] if one.share >= 0.1)


class AutomatonView(Config):
    """An automaton."""

    number: int
    """Its number in this run."""

    strength: float
    """The largest weight such that leads of that weight or more still hold it together."""

    states: list[StateView]
    """Its states."""

    arrows: list[ArrowView]
    """Its leads."""

    def picture(self) -> Picture:
        """Where all of it stands in the picture."""
        return picture(len(self.states), [(one.source, one.target, one.lead.test) for one in self.arrows])


class FoundAutomata(NamedTuple):
    """What was found in a run's index as it is now."""

    found: Automata
    by_latent: dict[int, list[int]]
    """Numbers of the automata that a latent is a state of."""


def found_automata(opened: OpenWorkspace, run: str) -> FoundAutomata | None:
    """What was found; None where nothing was looked for, or in another index than the run has now."""
    made = opened.artifact(run, KIND, _read)
    if (
        made is None
        or read_manifest(opened.workspace.run(run) / KIND).inputs.get("index") != opened.index(run).index.id
    ):
        return None
    return made


def automata_there(opened: OpenWorkspace, run: str) -> FoundAutomata:
    """The same. Raises `NotMadeYet` where there is none."""
    opened.card(run)
    made = found_automata(opened, run)
    if made is None:
        raise NotMadeYet(
            f"Automata were not looked for in run {run!r} as it is indexed now.",
            "a run in which they were looked for",
            f"run `sparselex analyse automata {opened.workspace.typed} --run {run}`.",
        )
    return made


def automaton_views(opened: OpenWorkspace, run: str, automata: list[Automaton], found: Automata) -> list[AutomatonView]:
    """Automata with words and tokens."""
    index = opened.index(run)
    latents = sorted({latent for one in automata for latent in one.latents})
    entries = opened.explained.entries(index.index).of(latents)
    return [_view(one, index, entries, found) for one in automata]


def _view(one: Automaton, index: OpenIndex, entries: dict[int, list[Entry]], found: Automata) -> AutomatonView:
    label = index.texts.label
    states = []
    for state in one.states:
        record = index.index.record(state.latents[0])
        raises = [effect.token for effect in (record.logits_top if found.raised == "logits" else record.following)]
        source = found.sources.get(state.latents[0])
        states.append(
            StateView(
                latent=state.latents[0],
                others=state.latents[1:],
                title=title_of(entries, state.latents[0]),
                tokens=[label(tally.token) for tally in record.tokens[:_TOKENS]],
                raises=[label(token) for token in raises[:_TOKENS]],
                train=source.train if source else None,
            )
        )
    arrows = [
        ArrowView(
            source=arrow.source,
            target=arrow.target,
            lead=arrow.lead,
            carriers=[CarrierView(text=label(one.token), share=one.share) for one in arrow.lead.carriers],
        )
        for arrow in one.arrows
    ]
    return AutomatonView(number=one.number, strength=one.strength, states=states, arrows=arrows)


def _read(path: Path) -> FoundAutomata:
    found = record_of(Automata, path, FILE)
    by_latent = dict[int, list[int]]()
    for one in found.automata:
        for latent in one.latents:
            by_latent.setdefault(latent, []).append(one.number)
    return FoundAutomata(found, by_latent)
