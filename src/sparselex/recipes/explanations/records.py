"""What came of explanations that were imported or exported, and which there are."""

from pathlib import Path

from sparselex.base.config import Config

_MOST_NAMED = 5
"""Places that are named of each kind of what was left out."""


class LeftOutRow(Config):
    """Something that was read and not taken."""

    what: str
    """What it is, in the plural."""

    n: int
    """How many there are."""

    where: tuple[str, ...]
    """The first of them."""

    def __str__(self) -> str:
        more = ", …" if self.n > len(self.where) else ""
        return f"{self.n:,} {self.what} ({', '.join(self.where)}{more})"

    @classmethod
    def of(cls, what: str, where: list[str]) -> "LeftOutRow":
        """A row of all places."""
        return cls(what=what, n=len(where), where=tuple(where[:_MOST_NAMED]))


class ImportSummary(Config):
    """What was taken of a file or a folder of explanations."""

    run: str
    """The run whose latents they are of."""

    source: str
    """Name of the file or folder."""

    sha256: str
    """Checksum of what was read there."""

    format: str
    """In whose format it is."""

    explainers: dict[str, int]
    """The names under which explanations stand now, and how many of each the file has."""

    n_new: int
    """Latents that had no explanation by these explainers."""

    n_changed: int
    """Latents whose explanation was another one; its scores went with it."""

    n_same: int
    """Latents whose explanation was there already, as it is."""

    left_out: list[LeftOutRow]
    """What was not taken."""

    def __str__(self) -> str:
        by = ", ".join(f"{name} ({n:,})" for name, n in self.explainers.items())
        lines = [
            f"{self.source}, read as {self.format}: {self.n_new:,} new, {self.n_changed:,} changed, {self.n_same:,} as "
            f"they were, for run {self.run}, by {by}"
        ]
        return "\n".join([*lines, *(f"not taken: {row}" for row in self.left_out)])


class ExportSummary(Config):
    """What was written."""

    format: str
    """In whose format."""

    folder: Path
    """Where."""

    n: int
    """Explanations."""

    n_left_out: int
    """Abstentions and failures, which that format has no place for."""

    n_judgements: dict[str, int] = {}
    """Windows of which is told what a judge said, by judge; empty for formats without them."""

    not_written: dict[str, int] = {}
    """Judgements that have no place there, by what they are."""

    def __str__(self) -> str:
        more = f"; {self.n_left_out:,} abstentions and failures have no place there" if self.n_left_out else ""
        judged = "".join(f"\n{n:,} windows judged by {name}" for name, n in self.n_judgements.items())
        rest = "".join(f"\nnot written: {n:,} {what}" for what, n in self.not_written.items())
        return f"{self.n:,} explanations in the format {self.format} in {self.folder}{more}{judged}{rest}"


class ExplainerRow(Config):
    """One explainer of a run."""

    explainer: str
    """Its name."""

    n_explained: int
    """Latents that it explains."""

    n_other: int
    """Latents of which it says nothing: abstentions and failures."""

    sources: tuple[str, ...]
    """The files that it was imported from, with the beginnings of their checksums; none of one that explained here."""

    methods: tuple[str, ...]
    """How it explained and by which models, as these files say."""

    def __str__(self) -> str:
        rest = f", {self.n_other:,} without" if self.n_other else ""
        came = f"; imported from {', '.join(self.sources)}" if self.sources else ""
        how = f" ({', '.join(self.methods)})" if self.methods else ""
        return f"{self.explainer}: {self.n_explained:,} explained{rest}{came}{how}"
