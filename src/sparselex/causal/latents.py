"""A dictionary at its place in a model: what edits of latents, their effects and their attributions need of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, Sites
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.lm.families import SITES
from sparselex.lm.subject import Readable


@dataclass(frozen=True, eq=False)
class Latents:
    """The latents of a dictionary that reads a model at some sites and writes to the same or to others."""

    dictionary: Dictionary
    """What encodes and decodes."""

    read: tuple[Hook, ...]
    """Where its input is, hooks side by side."""

    columns: dict[Hook, slice]
    """Where its output goes: of each hook its columns in it."""

    @classmethod
    def of(cls, dictionary: Dictionary, model: Readable, sites: Sites | str) -> "Latents":
        """Those of a dictionary trained at these sites of a model (or at this hook). Raises `UserError` where the
        widths do not agree, and for two models read side by side."""
        sites = sites if isinstance(sites, Sites) else Sites.at(sites)
        places = model.places(sites.written)
        if len({id(place.model) for place in places}) > 1:
            raise UserError(
                "A dictionary of two models was given.",
                "one model that is edited",
                "edits of dictionaries that read two models are not made: name a run of one model.",
            )
        dictionary.check_width(sum(map(model.width, sites.hooks)), "+".join(sites.hooks))
        if places[-1].columns.stop != dictionary.d_out:
            raise UserError(
                f"The dictionary writes width {dictionary.d_out}, and {'+'.join(sites.written)} is "
                f"{places[-1].columns.stop} wide.",
                "the sites that the dictionary was trained at",
                "name its own target.",
            )
        return cls(dictionary, sites.hooks, {place.hook: place.columns for place in places})

    @property
    def written(self) -> tuple[Hook, ...]:
        """Where its output goes."""
        return tuple(self.columns)

    @property
    def hook(self) -> Hook:
        """The one place that is read and written; the first of those that are written, where there are several."""
        return self.written[0]

    @property
    def earliest(self) -> Hook:
        """The first of those places that a pass reaches: where passes are kept of which all of them are edited."""
        sites = ("", *SITES)
        place = lambda hook: (hook.layer or 0, sites.index(hook.site) if hook.site in sites else 0)
        return min(self.written, key=place)

    @property
    def reads_what_it_writes(self) -> bool:
        """Whether it is an autoencoder of one site."""
        return self.read == self.written and len(self.read) == 1

    def check_reads_what_it_writes(self, what: str) -> None:
        """Raise `UserError` unless it is an autoencoder of one site; `what` says what was to be done."""
        if not self.reads_what_it_writes:
            raise UserError(
                f"A dictionary that reads {'+'.join(self.read)} and writes {'+'.join(self.written)} was to be {what} "
                "on the way.",
                "an autoencoder of one site, which is read where it is written: what others read is elsewhere, or "
                "not all there yet",
                "edit by activations of the undisturbed model: `text=` in `run.edits`, `known=` in `causal.edits`.",
            )

    def checked(self, number: int | Tensor) -> Int[Tensor, " batch"]:
        """A latent or one of each row, `[1]` or `[batch]`. Raises `UserError` for one that does not exist."""
        if isinstance(number, int) and number.bit_length() > 63:  # more than a tensor holds
            wrong, numbers = [number], torch.zeros(1, dtype=torch.long)
        else:
            numbers = torch.as_tensor(number).reshape(-1)
            wrong = [int(one) for one in numbers if not 0 <= int(one) < self.dictionary.d_sae]
        if wrong or numbers.is_floating_point() or numbers.dtype is torch.bool:
            raise UserError(
                f"Latent {wrong[0] if wrong else number} was asked for.",
                f"a latent from 0 to {self.dictionary.d_sae - 1}",
                "choose one that the dictionary has.",
            )
        return numbers

    def rows(self, number: Int[Tensor, " n"], hook: Hook) -> Float[Tensor, "n d"]:
        """What one unit of each of these latents adds at a hook."""
        W_dec = self.dictionary.W_dec.detach()
        return W_dec[number.to(W_dec.device)][:, self.columns[hook]]

    def activations(self, values: Float[Tensor, "n d_in"], number: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The activation of one latent in each row, of what is read there."""
        return self.of_codes(self.dictionary.encode_sparse(values), number).to(values)

    def of_codes(self, codes: Codes, number: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The activation of one latent in each row of codes."""
        wanted = codes.indices == number.to(codes.indices.device)[codes.rows]
        return codes.values.new_zeros(len(codes)).index_add(0, codes.rows[wanted], codes.values[wanted])
