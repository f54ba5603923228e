"""What is configured of every dictionary: fields that types share, and what each answers of itself before it is made.
Nothing here loads PyTorch."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import PositiveInt, model_validator

from sparselex.base.bounds import MOST_WEIGHTS, Count
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.dictionaries.kinds import SelectionDtype, TokenNorm


class DictionaryConfig(Config):
    """Fields that every dictionary type has. A type of its own also has the field `kind`, its registered name."""

    d_in: PositiveInt
    """Width of the activations read."""

    d_sae: PositiveInt
    """Number of latents."""

    from_sites: ClassVar[tuple[str, ...]] = ("d_in",)
    """Fields that follow from where a model is read: nobody chooses them."""

    in_order: ClassVar[bool] = False
    """Whether sites are named in the order of the forward pass, each once: a latent then writes to later ones."""

    @classmethod
    def fields_at(cls, read: Sequence[int], written: Sequence[int], expansion: float | int) -> dict[str, Any]:
        """The fields `from_sites` and the number of latents, at sites of these widths with `expansion` latents for each
        dimension read.

        `written` are the sites of a target of their own; it is empty for a dictionary that reconstructs its input.
        Raises `UserError` for sites that the type is not made for. Here: one site without a target; a type that takes
        others says so itself.
        """
        return one_site(cls, read, written, expansion)

    @classmethod
    def field_of(cls, choice: str) -> str | None:
        """The field that one of a person's choices (`k`, `l1`, `selection`, `skip`) sets; None where it means nothing
        to the type."""
        return choice if choice in cls.model_fields else None

    @classmethod
    def selects(cls) -> bool:
        """Whether `selection` is the precision in which latents are chosen, so that the fastest of a machine can be
        taken."""
        field = cls.model_fields.get("selection")
        return field is not None and field.annotation == SelectionDtype

    @property
    def asked_l0(self) -> float | None:
        """Active latents of a token as they were asked for (`k`); None where the type is asked otherwise."""
        field = self.field_of("k")
        value = None if field is None else getattr(self, field)
        return None if value is None else float(value)

    @property
    def target_width(self) -> int | None:
        """Width of a target of its own; None for a dictionary that reconstructs its input."""
        return None

    @property
    def has_skip(self) -> bool:
        """Whether a linear function of the input goes to the target past the latents."""
        return False

    @property
    def normalises(self) -> TokenNorm:
        """What is done to each token before it is coded, and undone in its reconstruction."""
        return "none"

    @property
    def only_read(self) -> str:
        """What is set for other projects' files alone, so that a dictionary with it is read and not trained; empty for
        all others."""
        return ""

    @property
    def n_blocks(self) -> int:
        """Equal ranges of latents, one after another, of which each is divided by itself when processes share the
        latents."""
        return 1

    @property
    def n_weights(self) -> int:
        """Numbers that a new dictionary has, but for its biases."""
        written = self.target_width or self.d_in
        return self.d_sae * (self.d_in + written) + (self.d_in * written if self.has_skip else 0)

    @model_validator(mode="after")
    def _can_be_held(self) -> "DictionaryConfig":
        if self.n_weights > MOST_WEIGHTS:
            raise ValueError(
                f"d_sae={self.d_sae} latents at these widths have {self.n_weights:,} weights, which no machine holds; "
                "lower the expansion"
            )
        return self


class EncoderConfig(DictionaryConfig):
    """Fields of the types with one encoder matrix: each of them can be an autoencoder, a transcoder or a crosscoder."""

    d_out: PositiveInt | None = None
    """Width of the target of a transcoder; None for a dictionary that reconstructs its input."""

    skip: bool = False
    """Whether a transcoder also passes a linear function of its input to the target (arXiv:2501.18823)."""

    parts: tuple[PositiveInt, ...] = ()
    """Widths of the sites that lie side by side in the input of a crosscoder: layers, or models; empty for a single
    site."""

    token_norm: TokenNorm = "none"
    """Normalisation of each token by itself before it is coded, undone in its reconstruction; of an autoencoder of one
    site."""

    from_sites: ClassVar[tuple[str, ...]] = ("d_in", "d_out", "parts")

    @classmethod
    def fields_at(cls, read: Sequence[int], written: Sequence[int], expansion: float | int) -> dict[str, Any]:
        """Of one site, of one site and its target, or of several sites side by side."""
        if len(read) > 1 and written:
            raise UserError(
                f"{len(read)} hooks and as many targets, and a dictionary of kind {kind_in(cls)}.",
                "a cross-layer transcoder, which alone reads and writes several sites",
                "train with --kind clt, or begin a run with one hook and one target.",
            )
        sites: dict[str, Any] = {"d_out": written[0]} if written else {}
        if len(read) > 1:
            sites["parts"] = tuple(read)
        return {"d_in": sum(read), "d_sae": round(sum(read) * expansion)} | sites

    @property
    def target_width(self) -> int | None:
        return self.d_out

    @property
    def has_skip(self) -> bool:
        return self.skip

    @property
    def normalises(self) -> TokenNorm:
        return self.token_norm

    @model_validator(mode="after")
    def _sites_fit(self) -> "EncoderConfig":
        if self.skip and self.d_out is None:
            raise ValueError(
                "skip=True needs a target of its own (d_out): an autoencoder that may copy its input learns nothing"
            )
        if self.parts and (self.d_out is not None or sum(self.parts) != self.d_in or len(self.parts) < 2):
            raise ValueError(
                f"parts={self.parts} must be two or more widths that sum to d_in={self.d_in}, without d_out"
            )
        if self.token_norm != "none" and (self.parts or self.d_out is not None):
            raise ValueError(
                f"token_norm={self.token_norm!r} is put back into what it was taken from: leave out d_out and parts"
            )
        return self


class KConfig(EncoderConfig):
    """Fields of the types that keep a fixed number of latents."""

    k: Count = 32
    """Latents kept per token, exactly or on average over a training batch; this is the L0 unless fewer are positive."""

    selection: SelectionDtype = "float32"
    """Precision in which training chooses latents."""

    @model_validator(mode="after")
    def _k_fits(self) -> "KConfig":
        check_k(self.k, self.d_sae)
        return self


def check_k(k: int, d_sae: int) -> None:
    """Raise `ValueError` if there are fewer than `k` latents to be kept."""
    if k > d_sae:
        raise ValueError(f"k={k} latents per token cannot be kept of d_sae={d_sae}; lower k or raise d_sae")


def kind_in(config: type[DictionaryConfig]) -> str:
    """Name of the type that a configuration is of."""
    return config.model_fields["kind"].default


def one_site(
    config: type[DictionaryConfig], read: Sequence[int], written: Sequence[int], expansion: float | int
) -> dict[str, Any]:
    """`fields_at` of a type that reconstructs the one site it reads. Raises `UserError` for others."""
    kind = kind_in(config)
    if written:
        raise UserError(
            f"The run has a target, and {kind} dictionaries reconstruct their input.",
            "a type that can be a transcoder",
            "choose another --kind, or begin a run without --target.",
        )
    if len(read) > 1:
        raise UserError(
            f"{len(read)} sites are read, and {kind} dictionaries are of one.",
            "a type that can be a crosscoder",
            "choose another --kind, or begin a run with one hook of one model.",
        )
    return {"d_in": read[0], "d_sae": round(read[0] * expansion)}
