"""The feature index, read side: memory maps, constant time by latent, no PyTorch."""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.base.sites import Sites
from sparselex.features.counted import Column, CountedTokens
from sparselex.features.examples import Entries, examples_of, interval_examples, top
from sparselex.features.ranges import groups
from sparselex.features.records import (
    Example,
    FeatureRecord,
    Histogram,
    IntervalExamples,
    Neighbour,
    SplitStatistics,
    TokenEffect,
    TokenTally,
)
from sparselex.features.related import Relations
from sparselex.text.rows import TokenRows
from sparselex.text.splits import SPLITS, Split

_STATISTICS = ("n_active", "mean", "mean_square", "max")
"""What is kept of each latent in each split."""

SINGLE_TOKEN, LEAST_ACTIVE = 0.9, 5
"""A latent is of a single token if it is active on so many tokens or more, and this share of them is one token."""

_ENTRIES = 1 << 26
"""Entries that are counted at a time."""


class FeatureIndex:
    """A finished index over `corpus`. Raises `UserError` if `path` is none, is damaged, or belongs to another
    corpus."""

    def __init__(self, path: Path | str, corpus: TokenRows):
        self.path, self.corpus = Path(path), corpus
        self.manifest = open_artifact(self.path, "index")
        self.id = self.manifest.id
        if self.manifest.inputs.get("corpus") != corpus.id:
            raise UserError(
                f"The index {path} was made from corpus {self.manifest.inputs.get('corpus')}, not from {corpus.id}.",
                "the corpus that was indexed",
                "run `sparselex index` again.",
            )
        notes = self.manifest.notes
        if "n_sampled" not in notes:
            raise UserError(
                f"The index {path} was made by an earlier version, which kept less of each latent.",
                "an index of this version",
                "run `sparselex index` again, with --replace, and what stands on it.",
            )
        self.sites = Sites.parse(self.manifest.config["sites"], str(self.path))
        self.d_sae: int = notes["d_sae"]
        self.n_tokens: dict[Split, int] = notes["n_tokens"]
        self.n_counted: dict[Split, int] = notes.get("n_counted", notes["n_tokens"])
        """Tokens that columns are of; statistics are of `n_tokens`, fewer where some of each row were drawn."""
        self.n_tokens_total = sum(self.n_tokens.values())
        self.sampled: bool = notes["sampled"]
        """Whether it keeps a sample of the places at which each latent is active, and not every one."""
        self.indptr, self._positions, self._values = map(self._array, ("indptr", "positions", "values"))

    def check(self, latent: int) -> None:
        """Raise `UserError` for a number that is no latent."""
        if not 0 <= latent < self.d_sae:
            raise UserError(f"There is no latent {latent}.", f"a number from 0 to {self.d_sae - 1}", "choose another.")

    def check_whole(self, what: str) -> None:
        """Raise `UserError` if the index keeps a sample of activations, and `what` needs every one."""
        if self.sampled:
            raise UserError(
                f"The index {self.path} keeps a sample of each latent's activations, and {what} needs every one.",
                "an index of every activation",
                "run `sparselex index` without --no-store.",
            )

    def column(self, latent: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Positions at which `latent` is active, ascending, and its activations there; of a sampled index those that it
        keeps."""
        self.check(latent)
        span = slice(int(self.indptr[latent]), int(self.indptr[latent + 1]))
        return np.asarray(self._positions[span]).astype(np.int64), np.asarray(self._values[span])

    def entries(self, start: int, stop: int) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """Positions and activations from one place of `indptr` to another: whole columns, one behind the other."""
        return np.asarray(self._positions[start:stop]), np.asarray(self._values[start:stop])

    def split_column(self, latent: int, split: Split) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The part of the column that lies in one split."""
        (positions, values), rows, n_ctx = self.column(latent), self.corpus.row_ranges[split], self.corpus.n_ctx
        inside = slice(*np.searchsorted(positions, [rows.start * n_ctx, rows.stop * n_ctx]))
        return positions[inside], values[inside]

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """`[n_rows * n_ctx]`, True where a token was counted (not masked). Raises `UserError` for a sampled index."""
        self.check_whole("telling which tokens were counted")
        return self._bits("counted")

    @cached_property
    def drawn(self) -> NDArray[np.bool_] | None:
        """`[n_rows * n_ctx]`, the tokens that statistics and examples are of; None where those are all counted ones."""
        return self._bits("drawn") if "drawn.npy" in self.manifest.files else None

    @cached_property
    def counted_hash(self) -> str:
        """The same for two indexes that counted the same positions of one corpus."""
        return self.manifest.files["counted.npy"].sha256

    @property
    def signed(self) -> bool:
        """Whether activations may be negative: one latent then serves a direction and its opposite."""
        return bool(self.manifest.notes["signed"])

    @cached_property
    def directions(self) -> NDArray[np.int8] | None:
        """`[d_sae, d_out]`, decoder rows as `sketches.as_bytes` keeps them; None where what was indexed has none."""
        return self._array("directions") if "directions.npy" in self.manifest.files else None

    @cached_property
    def sketches(self) -> NDArray[np.int8]:
        """`[d_sae, sketches.WIDTH]`, the columns in short, comparable with those of any other index of this corpus."""
        return self._array("sketches")

    @cached_property
    def active_by_position(self) -> NDArray[np.int32]:
        """`[n_rows * n_ctx]`, how many latents are active on each token of the corpus; 0 where none was counted. Raises
        `UserError` for a sampled index."""
        self.check_whole("telling how many latents are active on a token")
        found = np.zeros(self.corpus.n_rows * self.corpus.n_ctx, dtype=np.int32)
        for start in range(0, len(self._positions), _ENTRIES):
            part = np.asarray(self._positions[start : start + _ENTRIES])
            found += np.bincount(part, minlength=len(found)).astype(np.int32)
        return found

    def counted_tokens(self, split: Split) -> CountedTokens:
        """The counted tokens of one split, put together when first asked for."""
        if split not in self._counted_tokens:
            self._counted_tokens[split] = CountedTokens(self.corpus, self.counted, split)
        return self._counted_tokens[split]

    def counted_column(self, latent: int, split: Split) -> Column:
        """Ranks among the counted tokens of a split at which `latent` is active, and its activations there."""
        positions, values = self.split_column(latent, split)
        return Column(self.counted_tokens(split).ranks_of(positions), values.astype(np.float64))

    def examples(self, latent: int, split: Split, n: int, seed: int | None = None) -> list[Example]:
        """`n` places of a split at which `latent` is active, at most one a row: the largest activations or, with a
        `seed`, places drawn at random from all of them. Of a sampled index the random ones are of those that were drawn
        when it was made; raises `UserError` for another split than the training one."""
        positions, values = self.split_column(latent, split)
        if self.drawn is not None:
            positions, values = positions[there := self.drawn[positions]], values[there]
        if not len(positions):
            return []
        if self.sampled and seed is not None:
            return self._redrawn(latent, split, n, seed)
        entries = Entries(np.zeros(len(positions), dtype=np.int64), positions, values)
        largest = np.array([np.abs(values).max()], dtype=np.float64)
        if seed is None:
            found = top(entries, largest, self.corpus.n_ctx, n)
        else:
            found = interval_examples(entries, largest, self.corpus.n_ctx, 1, n, seed)[0]
        return examples_of(found.position[0], found.value[0])

    def _redrawn(self, latent: int, split: Split, n: int, seed: int) -> list[Example]:
        if split != "train":
            self.check_whole(f"drawing from the {split} split")
        there = examples_of(self._random[0][latent], self._random[1][latent])
        return [there[place] for place in generator(seed, "redrawn", latent).permutation(len(there))[:n]]

    def silent(self, latent: int, split: Split, n: int, seed: int) -> list[Example]:
        """`n` counted places of a split at which `latent` is not active, drawn at random, at most one a row."""
        tokens, column = self.counted_tokens(split), self.counted_column(latent, split)
        n_silent = len(tokens) - len(column.ranks)
        # Some fall into one row: more are drawn than are needed.
        draws = generator(seed, "silent", latent).integers(0, max(1, n_silent), size=8 * n if n_silent else 0)
        positions = tokens.positions[column.silent(draws)]
        first = np.unique(positions // self.corpus.n_ctx, return_index=True)[1]
        return [Example(position=int(position), value=0.0) for position in positions[np.sort(first)[:n]]]

    @cached_property
    def table(self) -> dict[str, NDArray]:
        """Columns over all latents: density, n_active, max, mean, and the same by split as `<split>_<name>`."""
        statistics = {name: self._array(f"statistics-{name}") for name in _STATISTICS}
        n_active, extremes = statistics["n_active"].sum(0), statistics["max"]
        weights = np.array([self.n_tokens[split] for split in SPLITS])[:, None] / max(1, self.n_tokens_total)
        widest = np.abs(extremes).argmax(0)
        columns = {
            "n_active": n_active,
            "density": n_active / max(1, self.n_tokens_total),
            "max": extremes[widest, np.arange(self.d_sae)],
            "mean": (statistics["mean"] * weights).sum(0),
        }
        for number, split in enumerate(SPLITS):
            columns |= {f"{split}_{name}": array[number] for name, array in statistics.items()}
        return columns

    @cached_property
    def top_positions(self) -> NDArray[np.integer]:
        """`[d_sae]`, position of each latent's largest training activation; -1 where there is none."""
        return self._top[0][:, 0].astype(np.int64)

    @property
    def all_top_positions(self) -> NDArray[np.integer]:
        """`[d_sae, n_top]`, positions of each latent's largest training activations; -1 where there are fewer."""
        return self._top[0]

    @cached_property
    def single_token(self) -> NDArray[np.bool_]:
        """`[d_sae]`, whether a latent is active on hardly any token but one (`SINGLE_TOKEN`, `LEAST_ACTIVE`)."""
        n_active, total = self.table["n_active"], self._tally_total
        return (n_active >= LEAST_ACTIVE) & (self._tally[1][:, 0] >= SINGLE_TOKEN * total)

    @property
    def all_neighbours(self) -> tuple[NDArray[np.integer], NDArray[np.float32]] | None:
        """`[d_sae, n]` nearest latents of each by decoder direction, the nearest first, and their cosines; None where
        there are no directions."""
        return self._near

    @property
    def all_promoted(self) -> NDArray[np.integer] | None:
        """`[d_sae, n]` tokens that each latent promotes most; None where the hook has no direct path."""
        return self._effect_arrays["logits-top"][0] if "logits-top" in self._effect_arrays else None

    def sums_at(self, there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Of every latent, over the positions that are `there` (`[n_rows * n_ctx]`): on how many it is active, the sum
        of the sizes of its activations on them, and the largest. Raises `UserError` for a sampled index."""
        self.check_whole("telling what is active on a token")
        n, total, most = np.zeros(self.d_sae, dtype=np.int64), np.zeros(self.d_sae), np.zeros(self.d_sae)
        for start in range(0, len(self._positions), _ENTRIES):
            hits = start + np.flatnonzero(there[self._positions[start : start + _ENTRIES]])
            latents = np.searchsorted(self.indptr, hits, "right") - 1
            sizes = np.abs(self._values[hits]).astype(np.float64)
            n += np.bincount(latents, minlength=self.d_sae)
            total += np.bincount(latents, sizes, self.d_sae)
            np.maximum.at(most, latents, sizes)
        return n, total, most

    @cached_property
    def masses(self) -> NDArray[np.float64]:
        """`[d_sae]`, the sum of the sizes of each latent's activations."""
        found = np.zeros(self.d_sae)
        for group in groups(self.indptr):
            starts = self.indptr[group.start : group.stop]
            there = np.flatnonzero(self.indptr[group.start + 1 : group.stop + 1] > starts)
            if len(there):
                sizes = np.abs(self._values[starts[0] : self.indptr[group.stop]])
                found[group.start + there] = np.add.reduceat(sizes, starts[there] - starts[0], dtype=np.float64)
        return found

    def record(self, latent: int) -> FeatureRecord:
        """Everything known of `latent`. Raises `UserError` for a number that is no latent."""
        self.check(latent)
        table, n_active = self.table, int(self.table["n_active"][latent])
        return FeatureRecord(
            latent=latent,
            dead=n_active == 0,
            density=float(table["density"][latent]),
            statistics={split: self._statistics(latent, split) for split in SPLITS},
            histogram=self._histogram(latent) if n_active else None,
            log_histogram=self._log_histogram(latent) if n_active else None,
            top=examples_of(self._top[0][latent], self._top[1][latent]),
            intervals=self._intervals(latent),
            random=examples_of(self._random[0][latent], self._random[1][latent]),
            tokens=self._tokens(latent),
            logits_top=self._effects("logits-top", latent),
            logits_bottom=self._effects("logits-bottom", latent),
            neighbours=self._neighbours(latent),
            **self.relations.fields(latent),
        )

    def _array(self, name: str) -> NDArray:
        # As a plain array over the same mapping: every slice of a `memmap` costs ten of an array's.
        return np.asarray(np.load(verified(self.path, f"{name}.npy", self.manifest), mmap_mode="r"))

    def _bits(self, name: str) -> NDArray[np.bool_]:
        return np.unpackbits(self._array(name), count=self.corpus.n_rows * self.corpus.n_ctx).astype(bool)

    @cached_property
    def _counted_tokens(self) -> dict[Split, CountedTokens]:
        return {}

    @cached_property
    def _top(self) -> tuple[NDArray, NDArray]:
        return self._array("top-positions"), self._array("top-values")

    @cached_property
    def _random(self) -> tuple[NDArray, NDArray]:
        return self._array("random-positions"), self._array("random-values")

    @cached_property
    def _tally(self) -> tuple[NDArray, NDArray]:
        return self._array("tally-tokens"), self._array("tally-counts")

    @cached_property
    def _tally_total(self) -> NDArray:
        return self._array("tally-total")

    @cached_property
    def _tops(self) -> dict[str, NDArray]:
        """Where the bins and the ranges of each latent end."""
        return {name: self._array(f"{name}-top") for name in ("histogram", "interval")}

    @cached_property
    def _token_shares(self) -> NDArray[np.float64]:
        return self._array("token-counts") / max(1, self.n_tokens_total)

    @cached_property
    def _log_histograms(self) -> tuple[NDArray, NDArray]:
        return self._array("log-histogram"), self._array("log-edges")

    @cached_property
    def _near(self) -> tuple[NDArray, NDArray] | None:
        """Neighbours and their cosines; None where what was indexed has no directions."""
        if "neighbours.npy" not in self.manifest.files:
            return None
        return self._array("neighbours"), self._array("neighbour-cosines")

    @cached_property
    def relations(self) -> Relations:
        """How latents hang together with each other, with neurons and with what follows them."""
        has = lambda name: f"{name}.npy" in self.manifest.files
        return Relations(self._array, has, self.manifest.notes["n_sampled"])

    @cached_property
    def _histograms(self) -> NDArray:
        return self._array("histogram")

    @cached_property
    def _interval_arrays(self) -> tuple[NDArray, NDArray, NDArray]:
        names = ("interval-positions", "interval-values", "interval-counts")
        return self._array(names[0]), self._array(names[1]), self._array(names[2])

    @cached_property
    def _effect_arrays(self) -> dict[str, tuple[NDArray, NDArray]]:
        names = [name for name in ("logits-top", "logits-bottom") if f"{name}.npy" in self.manifest.files]
        return {name: (self._array(name), self._array(f"{name}-values")) for name in names}

    def _statistics(self, latent: int, split: Split) -> SplitStatistics:
        values = {name: self.table[f"{split}_{name}"][latent].item() for name in _STATISTICS}
        return SplitStatistics(n_tokens=self.n_tokens[split], **values)

    def _histogram(self, latent: int) -> Histogram:
        counts = self._histograms[latent]
        edges = np.linspace(0, float(self._tops["histogram"][latent]), len(counts) + 1)
        used = int((edges[:-1] < abs(float(self.table["max"][latent]))).sum())
        return Histogram(edges=edges[: used + 1].tolist(), counts=counts[:used].tolist())

    def _log_histogram(self, latent: int) -> Histogram:
        counts, edges = self._log_histograms[0][latent], self._log_histograms[1]
        there = np.flatnonzero(counts)
        used = slice(int(there[0]), int(there[-1]) + 1)
        return Histogram(edges=edges[used.start : used.stop + 1].tolist(), counts=counts[used].tolist())

    def _tokens(self, latent: int) -> list[TokenTally]:
        total, shares = int(self._tally_total[latent]), self._token_shares
        return [
            TokenTally(token=token, n=n, share=n / total, base=float(shares[token]))
            for token, n in zip(*(part[latent].tolist() for part in self._tally), strict=True)
            if n
        ]

    def _intervals(self, latent: int) -> list[IntervalExamples]:
        positions, values, counts = self._interval_arrays
        edges = np.linspace(0, float(self._tops["interval"][latent]), positions.shape[1] + 1).tolist()
        found = [
            IntervalExamples(
                low=edges[i],
                high=edges[i + 1],
                n=int(counts[latent, i]),
                examples=examples_of(positions[latent, i], values[latent, i]),
            )
            for i in reversed(range(positions.shape[1]))
        ]
        return [interval for interval in found if interval.n]

    def _neighbours(self, latent: int) -> list[Neighbour]:
        if self._near is None:
            return []
        others, cosines = (array[latent].tolist() for array in self._near)
        return [Neighbour(latent=other, cosine=cosine) for other, cosine in zip(others, cosines, strict=True)]

    def _effects(self, name: str, latent: int) -> list[TokenEffect]:
        if name not in self._effect_arrays:
            return []
        tokens, values = self._effect_arrays[name]
        return [TokenEffect(token=int(t), value=float(v)) for t, v in zip(tokens[latent], values[latent], strict=True)]
