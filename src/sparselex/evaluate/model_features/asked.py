"""What every measurement of the card looks at: a dictionary at its site, directions beside it, and tokens of test
documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.intervals import effective_units, even_groups
from sparselex.base.seeds import derive, generator
from sparselex.base.sites import Hook
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.controls.rows import covariance_matched_rows
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.records import NULL, SHUFFLED
from sparselex.evaluate.moments import SAMPLE_TOKENS, target_of, training_rows
from sparselex.evaluate.rows import rows_to_judge
from sparselex.lm.subject import SubjectModel

LATENTS = "latents"
"""Name of the dictionary's own directions."""

_GROUPS = 30
"""Groups of documents that are left out in turn."""

_LEAST_DOCUMENTS = 5
"""Documents below which nothing can be said of others."""

_TOKENS = 4096
"""Tokens that are coded at a time."""


class Active(NamedTuple):
    """Tokens at which directions are active, those of one after another."""

    direction: NDArray[np.int64]
    """`[n]`, which."""

    position: NDArray[np.int64]
    """`[n]`, where in the corpus."""

    value: NDArray[np.float32]
    """`[n]`, its activation there."""

    def of(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "Active":
        """The chosen ones."""
        return Active(self.direction[which], self.position[which], self.value[which])


class Documents(NamedTuple):
    """Documents of which something is measured, in groups of about one size."""

    names: NDArray[np.int64]
    """`[n]`, ascending."""

    groups: NDArray[np.int64]
    """`[n]`, the group of each."""

    n_effective: float
    """Documents of one size that would tell as much."""

    @property
    def n_groups(self) -> int:
        """Groups."""
        return int(self.groups.max()) + 1

    def group(self, owners: NDArray[np.integer]) -> NDArray[np.int64]:
        """`[n]`, the group of the document of each token."""
        return self.groups[np.searchsorted(self.names, owners)]


class Other(NamedTuple):
    """Another dictionary of the same site."""

    dictionary: Dictionary
    """What it is."""

    words: str
    """What it has otherwise."""

    known: tuple[Figure, ...]
    """What was measured of it already."""


class Into(NamedTuple):
    """A dictionary of a later site of the same model."""

    run: str
    """Its run."""

    dictionary: Dictionary
    """What it is."""

    hook: Hook
    """What it reads."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A dictionary at its site, and what it is held against."""

    model: SubjectModel
    """The model."""

    reader: Reader
    """What reads the site over the corpus."""

    hook: Hook
    """The site."""

    dictionary: Dictionary
    """A dictionary that writes there."""

    config: ModelFeaturesConfig
    """What is asked."""

    rows: NDArray[np.int64]
    """Test rows."""

    documents: Documents
    """Those that the rows are of."""

    others: Mapping[str, Other]
    """Other dictionaries of the site, by their runs."""

    into: Into | None
    """A later dictionary whose latents are asked what they depend on."""

    @classmethod
    def of(
        cls,
        model: SubjectModel,
        reader: Reader,
        hook: Hook,
        dictionary: Dictionary,
        config: ModelFeaturesConfig,
        others: Mapping[str, Other] | None = None,
        into: Into | None = None,
    ) -> "Asked":
        """Raises `UserError` for a hook that the reader's sites do not write to, a dictionary of another width than
        these, and fewer than five documents to test on."""
        written = {str(place.hook): place.columns.stop for place in reader.written}
        if str(hook) not in written or dictionary.d_out != max(written.values()):
            raise UserError(
                f"A dictionary that writes {dictionary.d_out} numbers was to be asked about {hook}, beside what is at "
                f"{', '.join(written)}.",
                "a site that the dictionary writes to, and a reader of its sites",
                "name the dictionary's own sites.",
            )
        rows = rows_to_judge(reader.corpus, config.n_rows)
        owners = np.asarray(reader.corpus.documents[rows])
        names, sizes = np.unique(owners[owners >= 0], return_counts=True)
        if len(names) < _LEAST_DOCUMENTS:
            raise UserError(
                f"There are {len(names)} documents to test on.",
                f"{_LEAST_DOCUMENTS} or more: figures are uncertain over documents",
                "harvest more text, or give the test split a larger share (--shares).",
            )
        documents = Documents(names, even_groups(sizes.astype(np.float64), _GROUPS), effective_units(sizes))
        return cls(model, reader, hook, dictionary, config, rows, documents, others or {}, into)

    @cached_property
    def columns(self) -> slice:
        """Those of what the dictionary writes that are its site's."""
        return next(place.columns for place in self.reader.written if place.hook == self.hook)

    @cached_property
    def directions(self) -> Float[Tensor, "d_sae d"]:
        """What a unit of each latent writes at the site; float32 on the CPU."""
        return self.dictionary.W_dec.detach().float().cpu()[:, self.columns]

    @cached_property
    def train(self) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d"]]:
        """What the dictionary reads over training text, and what is at its site."""
        most = max(1, SAMPLE_TOKENS // self.reader.corpus.n_ctx)
        batch = self.reader.read(training_rows(self.reader, min(self.config.sample_rows, most)))
        return batch.x, target_of(batch)[:, self.columns]

    @property
    def sample(self) -> Float[Tensor, "n d"]:
        """Activations at the site over training text."""
        return self.train[1]

    @cached_property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Of the activations, float64."""
        return torch.cov(self.sample.double().T)

    @cached_property
    def typical(self) -> float:
        """Median distance of an activation from the mean of all."""
        return float((self.sample - self.sample.mean(0)).norm(dim=-1).median())

    @cached_property
    def beside(self) -> Float[Tensor, "n_directions d"]:
        """Unit directions drawn as the activations vary: as two of them differ."""
        return self._drawn(self.config.n_directions)

    @property
    def null(self) -> Float[Tensor, "n_null d"]:
        """Many such, drawn apart from these: quantiles of what is measured of them are what latents are held
        against."""
        return self._drawn(self.config.n_null, "null")

    def _drawn(self, n: int, *what: str) -> Float[Tensor, "n d"]:
        draws = torch.Generator().manual_seed(derive(self.config.seed, "model features", NULL, *what))
        return unit(covariance_matched_rows(self.sample.mean(0), self.covariance, n, 1, draws).directions())

    @cached_property
    def l0(self) -> float:
        """Latents that are active on a training token, the mean."""
        read = self.train[0]
        return sum(len(codes.values) for codes in _codes(self.dictionary, read)) / max(1, len(read))

    @cached_property
    def controls(self) -> dict[str, Dictionary]:
        """Other directions at the site, as many of them active on a token as latents are."""
        names = [name for name in self.config.controls if name != NULL]
        return control_dictionaries(
            names,
            self.sample.mean(0),
            self.covariance,
            lambda: self.sample,
            d_sae=self.config.n_directions,
            k=max(1, round(self.l0)),
            n_steps=8,
        )

    @cached_property
    def variances(self) -> Float[Tensor, " d_sae"]:
        """Variance of what each latent writes over the sample: of its activation times its row."""
        sums, squares = torch.zeros(2, self.dictionary.d_sae, dtype=torch.float64)
        for codes in _codes(self.dictionary, self.train[0]):
            sums.index_add_(0, codes.indices, codes.values.double())
            squares.index_add_(0, codes.indices, codes.values.double().square())
        n, lengths = max(1, len(self.train[0])), self.directions.double().square().sum(-1)
        return (squares / n - (sums / n).square()).clamp_min(0) * lengths

    @cached_property
    def test(self) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d"], NDArray[np.int64]]:
        """What the dictionary reads in the test rows, what is at its site, and their positions."""
        batch = self.reader.read(self.rows)
        return batch.x, target_of(batch)[:, self.columns], batch.positions

    @property
    def subjects(self) -> Mapping[str, Float[Tensor, "m d"]]:
        """What a unit of each latent, and of each direction of the controls, writes at the site."""
        others = {name: control.directions().float().cpu() for name, control in self.controls.items()}
        return {LATENTS: self.directions, **others}

    @cached_property
    def shuffled(self) -> Float[Tensor, "d_sae d"]:
        """Directions of active latents, each in the place of another: what latents say stays as it is, and what they
        write is another's."""
        alive = (self.variances > 0).nonzero()[:, 0]
        rng = torch.Generator().manual_seed(derive(self.config.seed, "model features", SHUFFLED))
        order, found = alive[torch.randperm(len(alive), generator=rng)], self.directions.clone()
        found[order] = self.directions[order.roll(1)]
        return found

    def active(self, name: str) -> Active:
        """Everywhere in the test rows that directions of a subject are active."""
        read, there, positions = self.test
        own = name in (LATENTS, SHUFFLED)
        coder, x = (self.dictionary, read) if own else (self.controls[name], there)
        found = [Active(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        for first, codes in zip(range(0, len(x), _TOKENS), _codes(coder, x), strict=True):
            place = codes.rows.numpy() + first
            found.append(Active(codes.indices.numpy(), positions[place], codes.values.float().numpy()))
        whole = Active(*(np.concatenate(column) for column in zip(*found, strict=True)))
        return whole.of(whole.value != 0)

    def reconstructed(self, read: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d"]:
        """What the dictionary makes of what it reads, at the site."""
        W_dec = self.dictionary.W_dec
        parts = [self.dictionary(part.to(W_dec.device, W_dec.dtype)).float().cpu() for part in read.split(_TOKENS)]
        return torch.cat([torch.zeros(0, W_dec.shape[1]), *parts])[:, self.columns]

    def drawn(self, name: str) -> Active:
        """A few directions of a subject, and of each a few tokens at which it is active; the same whatever asks."""
        active, config = self.active(name), self.config
        order = generator(config.seed, "model features", "places", name).permutation(len(active.direction))
        active = active.of(order[np.argsort(active.direction[order], kind="stable")])
        names, first, counts = np.unique(active.direction, return_index=True, return_counts=True)
        most = config.latents if name == LATENTS else config.control_latents
        chosen = generator(config.seed, "model features", "directions", name).permutation(len(names))[:most]
        places = [np.arange(first[one], first[one] + min(counts[one], config.n_places)) for one in np.sort(chosen)]
        return active.of(np.concatenate([np.empty(0, np.int64), *places]))

    def tokens(self, n: int, what: str) -> NDArray[np.int64]:
        """Numbers, among those of `test`, of at most `n` tokens, drawn at random, ascending."""
        n_tokens = len(self.test[2])
        return np.sort(generator(self.config.seed, "model features", "tokens", what).permutation(n_tokens)[:n])

    def groups(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[n]`, the group of the document of each position."""
        n_ctx = self.reader.corpus.n_ctx
        return self.documents.group(
            np.asarray(self.reader.corpus.documents[positions // n_ctx])[np.arange(len(positions)), positions % n_ctx]
        )


def _codes(dictionary: Dictionary, x: Float[Tensor, "n d_in"]) -> Iterator[Codes]:
    device, dtype = dictionary.W_dec.device, dictionary.W_dec.dtype
    return (dictionary.encode_sparse(part.to(device, dtype)).cpu() for part in x.split(_TOKENS))


def unit(rows: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
    """Rows at unit length, float32 on the CPU."""
    return torch.nn.functional.normalize(rows.detach().float().cpu(), dim=-1)


def by_group(values: NDArray[np.float64], groups: NDArray[np.int64], n_groups: int) -> NDArray[np.float64]:
    """`[n_groups, ...]` sums of `[n, ...]`."""
    found = np.zeros((n_groups, *values.shape[1:]))
    np.add.at(found, groups, values)
    return found
