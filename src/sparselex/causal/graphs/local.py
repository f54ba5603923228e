"""The local replacement model of one prompt, and the direct effects of its nodes on each other (Ameisen et al. 2025,
Circuit Tracing).

Attention patterns and norm scales are held, MLPs are replaced by what transcoders write and by what they leave over:
what each node adds to each later one is then the gradient along all paths that pass no other node, times its value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.sites import Hook
from sparselex.causal.graphs.stack import Features, Stack, Transcoder
from sparselex.lm.frozen import Frozen, freeze
from sparselex.lm.kept import Kept
from sparselex.lm.subject import Edit, SubjectModel

Advance = Callable[[int], None]
"""Told of targets that are done."""


class Outputs(NamedTuple):
    """The tokens whose logits a graph explains."""

    tokens: Int[Tensor, " k"]
    probabilities: Float[Tensor, " k"]
    logits: Float[Tensor, " k"]
    """Less the mean over the vocabulary."""


class Direct(NamedTuple):
    """Direct effects. Nodes are ordered: features, errors (MLP by MLP, token by token), inputs, outputs."""

    adjacency: Float[Tensor, "n n"]
    """At `[t, s]` what source `s` adds to target `t`."""

    values: Float[Tensor, " n_targets"]
    """What each target is: activations of features, then centred logits."""

    biases: Float[Tensor, " n_targets"]
    """What each target would be without any source."""

    whole: Float[Tensor, "k ctx_and_mlps"]
    """What is added to each output where every MLP's output at a token is one node, then by each input: the same
    whatever the transcoders are, so nothing passes such a node by."""

    @property
    def gap(self) -> float:
        """The largest difference between a target and the sum of what it is made of, as a share of the largest sum of
        sizes of such parts: rounding, unless something was not held that is no linear map."""
        rows = torch.cat([self.adjacency[: len(self.values) - len(self.whole)], self.adjacency[-len(self.whole) :]])
        off = (rows.sum(-1) + self.biases - self.values).abs()
        return float((off / (rows.abs().sum(-1) + self.biases.abs()).max()).max())


class LocalModel:
    """A model on one prompt with transcoders for the MLPs of some blocks.

    Args:
        model: the model; its weights are not changed.
        tokens: the prompt, `[1, ctx]`.
        transcoders: for MLPs; those from the first such block on that have none are errors as a whole.
        most_features: active latents that become nodes.
        output_share, most_outputs: the likeliest next tokens with so much probability, and so many at most.
        batch: targets of one backward pass.

    Raises `UserError` like `freeze` and `Stack`.
    """

    def __init__(
        self,
        model: SubjectModel,
        tokens: Int[Tensor, "1 ctx"],
        transcoders: Sequence[Transcoder],
        *,
        most_features: int = 8192,
        output_share: float = 0.95,
        most_outputs: int = 10,
        batch: int = 32,
    ):
        self.model, self.tokens, self.batch = model, tokens, batch
        self.stack = Stack(model, transcoders)
        self.frozen: Frozen = freeze(model, tokens)
        hooks = dict.fromkeys([self.stack.input, *self.stack.read, *self.stack.mlps])
        seen = model.run(tokens, read=[*hooks])
        self.values: dict[Hook, Tensor] = {hook: seen.values[hook][0].clone().float() for hook in hooks}
        self._kept: Kept = model.keep(tokens, self.stack.input, positions=False)
        self.outputs = _outputs(seen.logits[0, -1].float(), output_share, most_outputs)
        self.features: Features = self.stack.features(self.values, most_features)
        self.errors: Float[Tensor, "n_mlps ctx d_model"] = torch.stack([self._error(mlp) for mlp in self.stack.mlps])

    @property
    def n_ctx(self) -> int:
        """Tokens of the prompt."""
        return self.tokens.shape[1]

    @property
    def n_nodes(self) -> int:
        """Features, errors, inputs and outputs."""
        return len(self.features) + self.errors.shape[0] * self.n_ctx + self.n_ctx + len(self.outputs.tokens)

    def rows(self, n: int) -> Kept:
        """So many copies of the prompt, passes over which begin where the graph does."""
        return self._kept.of(torch.zeros(n, dtype=torch.long))

    @property
    def held_attention(self) -> dict[str, Edit]:
        """Edits that put queries and keys back from there on."""
        return {hook: edit for hook, edit in self.frozen.edits.items() if (Hook(hook).layer or 0) >= self.stack.first}

    def span(self, kind: str) -> slice:
        """Where the nodes of a kind stand: `features`, `errors`, `inputs` or `outputs`."""
        sizes = [len(self.features), self.errors.shape[0] * self.n_ctx, self.n_ctx, len(self.outputs.tokens)]
        number = ("features", "errors", "inputs", "outputs").index(kind)
        return slice(sum(sizes[:number]), sum(sizes[: number + 1]))

    def mask(self, kind: str) -> Bool[Tensor, " n"]:
        """Whether each node is of a kind."""
        found = torch.zeros(self.n_nodes, dtype=torch.bool)
        found[self.span(kind)] = True
        return found

    def weights(self) -> Float[Tensor, " n"]:
        """Of each output its probability; 0 of other nodes."""
        found = torch.zeros(self.n_nodes)
        found[self.span("outputs")] = self.outputs.probabilities.cpu()
        return found

    def read_of(self, number: int) -> dict[Hook, Float[Tensor, " d"]]:
        """The encoder row of a feature by hook, where it is not zero."""
        one, start = self.stack.transcoders[int(self.features.owner[number])], 0
        found = dict[Hook, Tensor]()
        for hook in one.latents.read:
            part = self.features.rows[number][start : start + self.model.width(hook)]
            start += len(part)
            if part.any():
                found[hook] = part
        return found

    def held(self, sources: Mapping[Hook, Tensor]) -> dict[str, Edit]:
        """Edits that hold attention, put `sources` where MLPs write, and add what passes latents by."""
        seen = dict[Hook, Tensor]()

        def note(hook: Hook) -> Edit:
            def noted(x: Tensor) -> Tensor:
                seen[hook] = x
                return x

            return noted

        def put(mlp: Hook) -> Edit:
            def written(x: Tensor) -> Tensor:
                value = sources[mlp].to(x).expand_as(x)
                past = self.stack.past(mlp, seen) if self._passes(mlp) else None
                return value if past is None else value + past.to(x)

            return written

        noted = self.stack.read if any(map(self._passes, self.stack.mlps)) else []
        made: dict[str, Edit] = {hook: note(hook) for hook in noted}
        return self.held_attention | made | {mlp: put(mlp) for mlp in self.stack.mlps}

    def direct(self, advance: Advance = lambda n: None) -> Direct:
        """All direct effects, targets by backward passes over copies of the prompt, one for each target."""
        n, features = self.n_nodes, self.span("features")
        adjacency = torch.zeros(n, n)
        sources = {mlp: self._constant_part(mlp) for mlp in self.stack.mlps}
        read = [self.stack.input, *self.stack.mlps, *self.stack.read]
        with self.frozen.norms():
            seen = self.model.run(self.rows(self.batch), edits=self.held(sources), read=read, grad=True)
            written = [_Written.of(self.stack, self.features, mlp, self.n_ctx) for mlp in self.stack.mlps]
            for targets, ends, seeds in self._targets(seen.values, seen.logits):
                gradients = self._gradients(ends, seeds, seen.values)
                adjacency[targets] = self._effects(gradients, written, len(targets))
                advance(len(targets))
        del seen  # before the pass below keeps its own
        biases, whole = self._biases(), self._whole()
        values = torch.cat([self.features.act, self.outputs.logits.cpu()])
        assert features.start == 0
        return Direct(adjacency, values, biases, whole)

    def _targets(
        self, values: Mapping[str, Tensor], logits: Tensor
    ) -> Iterator[tuple[list[int], list[Tensor], list[Tensor]]]:
        """Targets that share a pass, the tensors that they are read from, and how: a row for each."""
        places = [(int(self.features.owner[n]), *sorted(self.read_of(n))) for n in range(len(self.features))]
        for place in dict.fromkeys(places):
            those = [number for number, other in enumerate(places) if other == place]
            for start in range(0, len(those), self.batch):
                targets = those[start : start + self.batch]
                hooks = [Hook(str(hook)) for hook in place[1:]]
                seeds = [torch.zeros_like(values[hook]) for hook in hooks]
                for row, number in enumerate(targets):
                    read = self.read_of(number)
                    for hook, seed in zip(hooks, seeds, strict=True):
                        seed[row, int(self.features.position[number])] = read[hook].to(seed)
                yield targets, [values[hook] for hook in hooks], seeds
        yield from self._output_targets(logits)

    def _output_targets(self, logits: Tensor) -> Iterator[tuple[list[int], list[Tensor], list[Tensor]]]:
        first = self.span("outputs").start
        for start in range(0, len(self.outputs.tokens), self.batch):
            tokens = self.outputs.tokens[start : start + self.batch]
            seed = torch.zeros_like(logits)
            seed[: len(tokens), -1] = -1 / logits.shape[-1]
            seed[torch.arange(len(tokens)), -1, tokens.to(seed.device)] += 1
            yield [first + start + number for number in range(len(tokens))], [logits], [seed]

    def _gradients(
        self, ends: Sequence[Tensor], seeds: Sequence[Tensor], values: Mapping[str, Tensor]
    ) -> dict[Hook, Tensor]:
        """By what is added at each place: gradients of the targets, row by row; places behind them left out."""
        hooks = [self.stack.input, *self.stack.mlps]
        found = torch.autograd.grad(ends, [values[hook] for hook in hooks], seeds, retain_graph=True, allow_unused=True)
        return {hook: one.float() for hook, one in zip(hooks, found, strict=True) if one is not None}

    def _effects(self, gradients: Mapping[Hook, Tensor], written: "Sequence[_Written]", n: int) -> Float[Tensor, "m n"]:
        found = torch.zeros(n, self.n_nodes)
        errors = found[:, self.span("errors")].view(n, -1, self.n_ctx)
        for number, (mlp, one) in enumerate(zip(self.stack.mlps, written, strict=True)):
            if mlp not in gradients:
                continue
            slope = gradients[mlp][:n]
            errors[:, number] = torch.einsum("tcd,cd->tc", slope, self.errors[number]).cpu()
            if len(one.numbers):
                found[:, one.numbers] += one.effects(slope).cpu()
        start = self.values[self.stack.input]
        if self.stack.input in gradients:
            found[:, self.span("inputs")] = torch.einsum("tcd,cd->tc", gradients[self.stack.input][:n], start).cpu()
        return found

    def _whole(self) -> Float[Tensor, "k ctx_and_mlps"]:
        """Effects of whole outputs of MLPs, then of inputs: by a pass in which all that an MLP wrote is put in its
        place, what a transcoder lets pass its latents as well."""
        parts = {hook: self.values[hook] for hook in (*self.stack.mlps, self.stack.input)}
        put = lambda mlp: lambda x: parts[mlp].to(x).expand_as(x)
        edits = self.held_attention | {mlp: put(mlp) for mlp in self.stack.mlps}
        found = list[Tensor]()
        with self.frozen.norms():
            seen = self.model.run(self.rows(self.batch), edits=edits, read=[*parts], grad=True)
            for targets, ends, seeds in self._output_targets(seen.logits):
                slopes = self._gradients(ends, seeds, seen.values)
                effects = [
                    torch.einsum("tcd,cd->tc", slopes[hook][: len(targets)], part) for hook, part in parts.items()
                ]
                found.append(torch.cat(effects, dim=1).cpu())
        return torch.cat(found)

    @torch.no_grad()
    def _biases(self) -> Float[Tensor, " n_targets"]:
        """What targets are where no source is: by a pass with nothing at the sources but what is always written."""
        nothing = {mlp: self.stack.constant(mlp) for mlp in self.stack.mlps}
        empty = torch.zeros(self.n_ctx, self.model.d_model, device=self.model.device)
        sources = {mlp: empty if part is None else part for mlp, part in nothing.items()}
        edits = {self.stack.input: lambda x: torch.zeros_like(x)} | self.held(sources)
        with self.frozen.norms():
            seen = self.model.run(self.rows(1), edits=edits, read=self.stack.read)
        found = list[float]()
        for number in range(len(self.features)):
            position, less = int(self.features.position[number]), 0.0
            for hook, row in self.read_of(number).items():
                less += float(((self.values[hook] - seen.values[hook][0].float())[position] * row).sum())
            found.append(float(self.features.act[number]) - less)
        last = seen.logits[0, -1].float()
        return torch.cat([torch.tensor(found), (last[self.outputs.tokens] - last.mean()).cpu()])

    def _passes(self, mlp: Hook) -> bool:
        """Whether something passes the latents there."""
        one = self.stack.owner_of(mlp)
        return one is not None and bool(getattr(one.latents.dictionary.config, "skip", False))

    @torch.no_grad()
    def _constant_part(self, mlp: Hook) -> Float[Tensor, "ctx d_model"]:
        """What an MLP writes, less what passes latents by."""
        past = self.stack.past(mlp, self.values) if self._passes(mlp) else None
        return self.values[mlp] if past is None else self.values[mlp] - past

    @torch.no_grad()
    def _error(self, mlp: Hook) -> Float[Tensor, "ctx d_model"]:
        """What an MLP writes and no node of a feature does."""
        found, constant = self._constant_part(mlp).clone(), self.stack.constant(mlp)
        at, vectors = self.stack.written(self.features, mlp)
        found.index_add_(0, self.features.position[at].to(found.device), -vectors.to(found))
        return found if constant is None else found - constant.to(found)


class _Written(NamedTuple):
    """What features write at one MLP's place, in rows of one length for each token."""

    numbers: Int[Tensor, " m"]
    """The features."""

    places: Int[Tensor, " m"]
    """Where each stands in `padded`, its first two dimensions flattened."""

    padded: Float[Tensor, "ctx most d_model"]

    @classmethod
    def of(cls, stack: Stack, features: Features, mlp: Hook, n_ctx: int) -> "_Written":
        numbers, vectors = stack.written(features, mlp)
        position = features.position[numbers]
        order = position.argsort(stable=True)
        numbers, vectors, position = numbers[order], vectors[order.to(vectors.device)], position[order]
        counts = position.bincount(minlength=n_ctx)
        within = torch.arange(len(position)) - (counts.cumsum(0) - counts)[position]
        most = int(counts.max()) if len(position) else 0
        places = position * most + within
        padded = vectors.new_zeros(n_ctx * most, vectors.shape[-1])
        padded[places.to(padded.device)] = vectors
        return cls(numbers, places, padded.view(n_ctx, most, vectors.shape[-1]))

    def effects(self, slope: Float[Tensor, "t ctx d_model"]) -> Float[Tensor, "t m"]:
        """What each feature adds to each target."""
        found = torch.bmm(self.padded, slope.permute(1, 2, 0).to(self.padded))
        return found.flatten(0, 1)[self.places.to(found.device)].T


def _outputs(logits: Float[Tensor, " n_vocab"], share: float, most: int) -> Outputs:
    chances = logits.softmax(-1)
    best = chances.topk(min(most, len(chances)))
    enough = int((best.values.cumsum(0) < share).sum()) + 1
    tokens = best.indices[:enough]
    return Outputs(tokens, best.values[:enough], logits[tokens] - logits.mean())
