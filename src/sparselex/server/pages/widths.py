"""What a feature is in narrower and wider dictionaries, as its page shows it."""

from sparselex.atlas.splitting.records import KIND, Graph
from sparselex.base.config import Config
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace

N_SHOWN = 8
"""Relatives on each side that a feature's page names."""


class Relative(Config):
    """A latent of another width."""

    run: str
    """Its run."""

    latent: int
    """Its number."""

    words: str
    """What is said of it, or the token on which it is most active."""

    link: float
    """How alike the two are."""


class WidthsView(Config):
    """What a feature is in narrower and wider dictionaries."""

    owner: str
    """The run in which the graph lies."""

    narrower: list[Relative]
    """What it came of, the strongest link first."""

    n_narrower: int
    """How many there are."""

    wider: list[Relative]
    """What it becomes."""

    n_wider: int
    """How many there are."""

    narrower_run: str
    """The run of the next narrower dictionary; empty where there is none."""

    wider_run: str
    """That of the next wider one."""


def graph_of(opened: OpenWorkspace, run: str) -> Graph | None:
    """The graph that lies in a run, of the indexes that all its levels have now; None where there is none."""
    return opened.over_runs(run, KIND, Graph, lambda one: one.found.levels)


def graph_with(opened: OpenWorkspace, run: str) -> tuple[str, Graph] | None:
    """A graph in which a run is a level, and the run in which it lies: its own where there is one."""

    def find(owner: str) -> Graph | None:
        found = graph_of(opened, owner)
        return found if found is not None and found.found.level_of(run) is not None else None

    return opened.holding(run, find)


def words_of(opened: OpenWorkspace, run: str, latents: list[int]) -> dict[int, str]:
    """What is said of latents in short, or the token on which each is most active."""
    found = opened.index(run)
    entries = opened.explained.entries(found.index).of(latents)
    said = {}
    for latent in latents:
        token = int(found.top_tokens[latent])
        said[latent] = title_of(entries, latent) or (
            f"most on {found.texts.label(token)}" if token >= 0 else "never active"
        )
    return said


def widths_view(opened: OpenWorkspace, run: str, latent: int) -> WidthsView | None:
    """The relatives of a feature; None where there is no graph, or it is too rare to be in it."""
    there = graph_with(opened, run)
    if there is None:
        return None
    owner, graph = there
    level = graph.found.level_of(run) or 0
    table = graph.latents(level)
    if all(table[name][latent] < 0 for name in ("children", "parents")):
        return None
    levels = graph.found.levels
    sides = []
    for relatives, other in ((graph.parents(level, latent), level - 1), (graph.children(level, latent), level + 1)):
        name = levels[other].run if 0 <= other < len(levels) else ""
        numbers = relatives.latent[:N_SHOWN].tolist()
        words = words_of(opened, name, numbers) if numbers else {}
        shown = [
            Relative(run=name, latent=number, words=words[number], link=float(link))
            for number, link in zip(numbers, relatives.link[:N_SHOWN], strict=True)
        ]
        sides.append((name, shown, len(relatives.latent)))
    (narrower_run, narrower, n_narrower), (wider_run, wider, n_wider) = sides
    return WidthsView(
        owner=owner,
        narrower=narrower,
        n_narrower=n_narrower,
        wider=wider,
        n_wider=n_wider,
        narrower_run=narrower_run,
        wider_run=wider_run,
    )
