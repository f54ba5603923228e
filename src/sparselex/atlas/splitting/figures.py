"""Figures of splitting, each beside its null."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.splitting.families import Families
from sparselex.atlas.splitting.records import KIND
from sparselex.base.estimates import Apart, mean_figure, median_figure
from sparselex.base.figures import Figure

NULL = "null: the narrow latents' activations shifted by a third to two thirds of the tokens"

_HIGHEST = "above the highest that the narrow latent has with any wide one when shifted"

_EMPTY = "no latent is active often enough"


def _from(least: float) -> str:
    """From where on two latents are linked."""
    return f"at {least:g} or more and {_HIGHEST}"


class Counts(NamedTuple):
    """To how many others each narrow latent is linked."""

    found: NDArray[np.int64]
    """`[n_narrow]`."""

    without: list[NDArray[np.int64]]
    """Without each group of test documents."""


class Counted(NamedTuple):
    """Relatives from one dictionary to the next."""

    found: Families
    null: Families
    without: list[Families]
    """Without each group of test documents."""

    siblings: Counts
    """Others of its own dictionary: they fire together, and nothing is split."""

    close: Counts
    """Wide latents to which it is linked closely."""

    close_siblings: Counts
    """Others of its own dictionary to which it is."""

    close_null: NDArray[np.int64]
    """`[n_narrow]`, the first of these under the null."""

    holds: NDArray[np.bool_]
    """`[n_links]`, whether each link of training documents holds on test documents."""

    holds_without: NDArray[np.bool_]
    """`[n_groups, n_links]`, the same without each group of these."""

    holds_null: NDArray[np.bool_]
    """`[n]`, the same of those under the null."""

    n_documents: float
    """Documents of one size that would tell as much."""


def splitting_figures(step: str, counted: Counted, least_link: float, close: float) -> list[Figure]:
    """What narrow latents become in a wide dictionary; `step` names both, `least_link` and `close` are the strengths
    from which two latents are linked, and closely."""
    found, null = counted.found, counted.null
    linked = f"wide latents that a narrow one is linked to, {_from(least_link)}"

    def apart(of: str, above: int | None) -> Apart:
        values = np.stack([getattr(one, of) for one in counted.without])
        return Apart(values if above is None else values >= above, counted.n_documents)

    def share(name: str, of: str, least: int, words: str, over: str = "narrow latents") -> Figure:
        by_chance = getattr(null, of) >= least
        return mean_figure(
            f"{KIND}/{step}/{name}",
            getattr(found, of) >= least,
            f"share of {words}, {_from(least_link)}; {NULL}",
            over=over,
            apart=apart(of, least),
            share=True,
            null=float(by_chance.mean()) if len(by_chance) else None,
            empty=_EMPTY,
        )

    def holding() -> Figure:
        return mean_figure(
            f"{KIND}/{step}/held",
            counted.holds,
            f"share of the links found on training documents, {_from(least_link)}, which hold on test documents; "
            f"{NULL}",
            over="links",
            apart=Apart(counted.holds_without, counted.n_documents),
            share=True,
            null=float(counted.holds_null.mean()) if len(counted.holds_null) else None,
            empty="no link",
        )

    children = median_figure(
        f"{KIND}/{step}/children",
        found.children,
        f"median number of {linked}; {NULL}",
        over="narrow latents",
        apart=apart("children", None),
        null=float(np.median(null.children)) if len(null.children) else None,
        empty=_EMPTY,
    )
    siblings = median_figure(
        f"{KIND}/{step}/siblings",
        counted.siblings.found,
        "median number of other latents of its own dictionary to which a narrow latent is linked in the same way: they "
        "fire together, and nothing is split",
        over="narrow latents",
        apart=Apart(np.stack(counted.siblings.without), counted.n_documents),
        empty=_EMPTY,
    )
    beside = {} if siblings.value is None else {"siblings": siblings.value}
    return [
        children if children.value is None else children.model_copy(update={"controls": beside}),
        siblings,
        mean_figure(
            f"{KIND}/{step}/children_mean",
            found.children.astype(np.float64),
            f"mean number of {linked}; {NULL}",
            over="narrow latents",
            apart=apart("children", None),
            null=float(null.children.mean()) if len(null.children) else None,
            empty=_EMPTY,
        ),
        *_close(step, counted, close),
        share("split", "children", 2, "narrow latents that are linked to two wide ones or more"),
        share("split_alone", "led", 2, "narrow latents that are the strongest link of two wide ones or more"),
        share("kept", "children", 1, "narrow latents that are linked to any wide one"),
        share("merged", "parents", 2, "wide latents that are linked to two narrow ones or more", "wide latents"),
        share("descended", "parents", 1, "wide latents that are linked to any narrow one", "wide latents"),
        holding(),
    ]


def _close(step: str, counted: Counted, close: float) -> list[Figure]:
    """How many wide latents are close to a narrow one, beside others of its own dictionary."""
    found, siblings, null = counted.close, counted.close_siblings.found, counted.close_null
    without, some = np.stack(found.without), len(null) > 0
    control = f"{_from(close)}; control: the same of other latents of its own dictionary; {NULL}"
    number = median_figure(
        f"{KIND}/{step}/close_children",
        found.found,
        f"median number of wide latents to which a narrow one is linked {control}",
        over="narrow latents",
        apart=Apart(without, counted.n_documents),
        null=float(np.median(null)) if some else None,
        empty=_EMPTY,
    )
    share = mean_figure(
        f"{KIND}/{step}/close_split",
        found.found > 1,
        f"share of narrow latents to which two wide ones or more are linked {control}",
        over="narrow latents",
        apart=Apart(without > 1, counted.n_documents),
        share=True,
        null=float((null > 1).mean()) if some else None,
        empty=_EMPTY,
    )
    beside = (float(np.median(siblings)), float((siblings > 1).mean())) if some else (0.0, 0.0)
    return [
        one if one.value is None else one.model_copy(update={"controls": {"siblings": control_value}})
        for one, control_value in zip((number, share), beside, strict=True)
    ]
