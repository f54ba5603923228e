"""`/runs/<run>/automata`: finite-state automata of a run's latents, and each of them by itself."""

from typing import Annotated

from sparselex.atlas.automata.records import Threshold
from sparselex.base.figures import Figure
from sparselex.base.runs import RunCard
from sparselex.server.automata_views import AutomatonView, automata_there, automaton_views
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.feature import numbered

_DRAWN = 4
"""Automata that are drawn above the table of all."""

PREFIX = "1 2 3 4 5 6 7 8 9 10"
"""What is gone on from under a state that is pinned, as in Bricken et al. (2023)."""


class AutomataPage(PageRecord):
    """`/runs/<run>/automata`: finite-state automata of a run's latents."""

    run: RunCard
    """What the run says of itself."""

    raised: str
    """What it is by that a latent raises tokens: `logits` or `following`."""

    n_shuffles: int
    """Shuffles behind each threshold."""

    n_tokens: dict[str, int]
    """Tokens that were looked at, by split."""

    n_sources: int
    """Latents that were looked at as the first of a pair."""

    n_targets: int
    """Latents that were looked at as the second."""

    n_unsurprising: int
    """Latents among the former that their own tokens follow no more often than by chance."""

    train: Threshold
    """What had to be exceeded in training documents."""

    test: Threshold
    """What had to be exceeded in test documents."""

    n_chosen: int
    """Leads above the thresholds in training documents."""

    n_leads: int
    """Of these, those that test documents confirm."""

    unconfirmed: dict[str, int]
    """Of these, those that they do not, by why."""

    figures: list[Figure]
    """Of all together."""

    automata: list[AutomatonView]
    """Automata of two states or more, the strongest first."""

    loops: list[AutomatonView]
    """Latents that lead to themselves and are a state of none of these."""

    @property
    def drawn(self) -> list[AutomatonView]:
        """Those that are drawn."""
        return self.automata[:_DRAWN]


class AutomatonPage(PageRecord):
    """`/runs/<run>/automata/<number>`: one automaton."""

    run: RunCard
    """What the run says of itself."""

    automaton: AutomatonView
    """The automaton."""

    n: int
    """How many there are."""

    prefix: str
    """What is gone on from under a state that is pinned."""


Number = Annotated[int, numbered("automaton", 9)]


def automata_page(opened: OpenWorkspace, run: str) -> AutomataPage:
    """What was found in a run's dictionary. Raises `NotMadeYet` where nothing was looked for, or in another index than
    the run has now."""
    found = automata_there(opened, run).found
    views = automaton_views(opened, run, found.automata, found)
    shared = AutomataPage.model_fields.keys() & type(found).model_fields.keys() - {"automata"}
    return AutomataPage(
        title=f"{run}: automata",
        run=opened.card(run),
        automata=[one for one in views if len(one.states) > 1],
        loops=[one for one in views if len(one.states) == 1],
        **{name: getattr(found, name) for name in shared},
    )


def automaton_page(opened: OpenWorkspace, run: str, number: Number) -> AutomatonPage:
    """One automaton. Raises `NoSuchPage` for a number that is none, and like `automata_page`."""
    found = automata_there(opened, run).found
    if number >= len(found.automata):
        raise NoSuchPage(
            f"There is no automaton {number} in run {run!r}.",
            f"a number below {len(found.automata)}",
            "choose one from the list of automata.",
        )
    (view,) = automaton_views(opened, run, [found.automata[number]], found)
    title, n = f"{run}: automaton {number}", len(found.automata)
    return AutomatonPage(title=title, run=opened.card(run), automaton=view, n=n, prefix=PREFIX)


PAGE = Page(path="/runs/{run}/automata", build=automata_page, template=TEMPLATES / "automata.html")
ONE = Page(path="/runs/{run}/automata/{number}", build=automaton_page, template=TEMPLATES / "automaton.html")
