"""Have one latent explained and judged that a reader asks for: the walk of all, for one, which leaves their figures as
they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.explain.asking.ask import Walk
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.store import About
from sparselex.explain.asking.subject import Opens
from sparselex.explain.records import Explanation, Status
from sparselex.features.index import FeatureIndex
from sparselex.llm.records import Client


class Alone(NamedTuple):
    """What came of asking for one explanation."""

    explainer: str
    """The name under which it is kept."""

    status: Status
    """explained, abstained or failed."""

    reason: str
    """Why there is no explanation, or why some judges scored nothing; empty where nothing is missing."""


def ask_alone(
    index: FeatureIndex,
    config: AskConfig,
    client: Client,
    database: Path | str,
    latent: int,
    *,
    subject: Opens | None = None,
    labels: Mapping[int, str] | None = None,
    trusting: bool = False,
) -> Alone:
    """Have `latent` explained and judged as `sparselex.explain.asking.ask.ask` does; what is there is not asked again.

    Figures stay those of the drawn latents: nothing is summed up here, the latent is not entered among those that were
    drawn, and what was found of a drawn one under another configuration is never replaced. The null is made by the
    explanation of another latent by the same explainer, where there is one.

    Raises `UserError` like `ask`, and where a drawn latent was judged by another model or otherwise.
    """
    walk = _Lone(index, config, client, database, subject, labels or {}, trusting)
    walk.turn_to(latent)
    walk.run()
    walk.check_worth()
    walk.store.arrange(index.id, walk.name, [*walk.store.scorers(index.id, walk.name), *config.judges])
    return walk.found()


def kept_as(config: AskConfig, abouts: Sequence[About], model: str) -> AskConfig:
    """The configuration with a name of its own where explanations of another one are kept under its name: a page shows
    both, and neither takes the place of the other."""
    ours = config.writing_id(model)
    taken = [about for about in abouts if about.explainer == config.name and about.writing_id not in ("", ours)]
    if not taken:
        return config
    name = "".join(char if char.isalnum() and char.isascii() else "-" for char in f"{config.writer}-{model}")
    return config.model_copy(update={"stored_as": name[:64].rstrip("-")})


class _Lone(Walk):
    """The walk over one latent."""

    def turn_to(self, latent: int) -> None:
        """Walk over this latent alone."""
        stored = [about for about in self.asked.about(self.index.id) if about.explainer == self.name]
        for about in stored:
            self._check_judged(about, latent)
        if not stored:  # the name is taken from now on, and none of its latents was drawn
            self.store.database.update()
            self.asked.tell(self.index.id, self.about.model_copy(update={"latents": ()}))
        self.latents = [latent]
        self.about = self.about.model_copy(update={"latents": (latent,)})

    def _check_judged(self, about: About, latent: int) -> None:
        """Refuse to judge a drawn latent anew: its scores would leave the figures."""
        again = sorted(about.judges.keys() & self.judges.keys())
        if latent in about.latents and again and about.judging_id != self.about.judging_id:
            raise UserError(
                f"The explanation of latent {latent} by {self.name} was judged by {about.model}, or by other options.",
                f"other judges than {' and '.join(again)}, whose scores are among the run's figures",
                "choose others, or start the server with the model of that run.",
            )

    def _explained(self) -> dict[int, Explanation]:
        """All of this configuration, for one of the others makes the null."""
        stored = self.store.all(self.index.id, self.name)
        ours = {one.latent for one in stored}
        if self.writer:
            ours = set(self.store.statuses(self.index.id, self.name, self.config_id))
        return {one.latent: one for one in stored if one.latent in ours and one.status == "explained"}

    def others(self, explained: Sequence[int]) -> dict[int, int | None]:
        """The latent, and by which other latent's explanation its null is made."""
        there = sorted(self._explained().keys() - set(explained))
        drawn = lambda latent: int(generator(self.config.seed, "null", latent).integers(len(there)))
        return {latent: there[drawn(latent)] if there else None for latent in explained}

    def found(self) -> Alone:
        """What came of it."""
        (latent,) = self.latents
        stored = {one.latent: one for one in self.store.all(self.index.id, self.name)}
        one = self.failed.get(latent) or stored.get(latent)
        if one is None:
            return Alone(self.name, "failed", self.client.stopped or "nothing was answered")
        lacking = self.client.stopped or self._said_of_unfit()
        return Alone(self.name, one.status, lacking if one.status == "explained" else one.text)
