"""Many small circuits for squares that share neurons: each is a subspace of the activations with one used direction."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sparselex.evaluate.doomed.config import N_UNITS, SPREAD
from sparselex.evaluate.doomed.draws import Drawn, Place, alive, components, fvu, trained
from sparselex.evaluate.doomed.nets import train_nets
from sparselex.evaluate.doomed.scaffolding import output_metric
from sparselex.evaluate.doomed.seen import NOTHING, Chance, RunSeen, Seen, Sees, best_cosine, chance_of, unit
from sparselex.evaluate.model_features.relevance import in_span

N_ON = 2.0
"""Circuits that are on in a sample, on average."""

N_SINGLE = 4
"""Activations of each circuit alone that stand as directions of their own, for comparison."""

_WITHIN = 0.8
"""Share of a direction's squared length in one circuit's subspace from which it is counted as that circuit's."""

_READ = 0.999
"""Share of the trace of the output metric that counts as read: readouts are not of one length."""


_N_FIT = 8192
"""Samples that readouts are fitted on."""


class Circuits(NamedTuple):
    """Circuits embedded in neurons. A neuron's input is the sum of those of its units, and a circuit that is off gives
    its units no input at all, not even their biases."""

    slopes: Float[Tensor, "n_circuits n_neurons"]
    biases: Float[Tensor, "n_circuits n_neurons"]
    readouts: Float[Tensor, "n_circuits n_neurons"]
    """What is read of neurons as each circuit's output."""

    units: Float[Tensor, "n_circuits n_units n_neurons"]
    """Neurons of each unit, orthonormal rows within a circuit: they span its subspace."""

    def draw(self, generator: torch.Generator, n: int) -> Float[Tensor, "n d"]:
        """Inputs of so many samples: every circuit's number, and whether it is on."""
        n_circuits = len(self.slopes)
        on = torch.rand(n, n_circuits, generator=generator) < N_ON / n_circuits
        return torch.cat([(2 * torch.rand(n, n_circuits, generator=generator) - 1) * on, on.float()], dim=1)

    def single(self, place: Place) -> Float[Tensor, "m n_neurons"]:
        """Activations in which one circuit is on, `N_SINGLE` of each: directions that are of a circuit and of nothing
        else, and that nobody has learnt."""
        on = torch.eye(len(self.slopes)).repeat(N_SINGLE, 1)
        x = 2 * torch.rand(len(on), 1, generator=place.generator("single")) - 1
        return self.neurons(torch.cat([x * on, on], dim=1))

    def neurons(self, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "n n_neurons"]:
        """Activations of the neurons."""
        x, on = inputs.chunk(2, dim=1)
        return (x @ self.slopes + on @ self.biases).relu()

    def outputs(self, neurons: Float[Tensor, "n n_neurons"]) -> Float[Tensor, "n n_circuits"]:
        """What is read of them."""
        return neurons @ self.readouts.T


def embedded(place: Place) -> Circuits:
    """Circuits of ten units each, trained one by one, and each unit given `SPREAD` neurons at random, none twice in a
    circuit. What is read of a circuit's units is fitted anew where they are, by least squares: a readout that knows
    nothing of the others' interference is off by more than the squares vary."""
    config = place.config
    n, n_neurons = config.n_circuits, config.n_neurons
    square = lambda x: x[..., None].square()
    nets = train_nets(square, n, N_UNITS, config.net_steps, place.generator("nets"), constant=False)
    chosen = torch.rand(n, n_neurons, generator=place.generator("neurons")).argsort(1)[:, : N_UNITS * SPREAD]
    units = functional.one_hot(chosen.view(n, N_UNITS, SPREAD), n_neurons).sum(2).float()
    put = lambda values: torch.einsum("cu,cun->cn", values, units)
    bare = Circuits(put(nets.W), put(nets.b), torch.zeros(n, n_neurons), units / SPREAD**0.5)
    inputs = bare.draw(place.generator("readouts"), _N_FIT)
    seen = torch.einsum("bn,cun->cbu", bare.neurons(inputs), bare.units)
    read = torch.linalg.lstsq(seen, inputs[:, :n].T.square()[..., None]).solution[..., 0]
    return bare._replace(readouts=torch.einsum("cu,cun->cn", read, bare.units))


def measure(place: Place) -> RunSeen:
    """One run: circuits in shared neurons, and who finds the direction that is read of each."""
    config, circuits = place.config, embedded(place)
    draw = lambda generator, n: circuits.neurons(circuits.draw(generator, n))
    inputs, h = place.held_out(circuits.draw), place.held_out(draw)
    n_circuits, n_neurons = circuits.readouts.shape
    # Outputs are read one by one: a gradient for each sample, of one output or another.
    order = torch.arange(len(h)) % n_circuits
    span = output_metric(circuits.readouts[order], h).read_span(_READ)
    chances = _Chances(place, circuits, span)

    def seen(
        method: str, setting: str, sees: Sees, rows: Float[Tensor, "m d"], more: Mapping[str, float] = NOTHING
    ) -> Seen:
        return Seen(method, setting, sees, _values(rows, circuits, span) | dict(more), chances.of(rows))

    rows = [seen("neurons", "", "activations", torch.eye(n_neurons)), seen("PCA", "", "activations", components(h))]
    for name, fields in _autoencoders(n_neurons).items():
        kind, _, setting = name.partition(" ")
        dictionary = trained(Drawn(draw, place.seed, config.batch_size), place, name.replace(" ", "-"), **fields)
        live, l0 = alive(dictionary, h), float((dictionary.encode(h) != 0).sum(1).float().mean())
        more = {"l0": l0, "fvu": fvu(dictionary(h).detach(), h)}
        rows.append(seen(kind, setting, "activations", dictionary.directions()[live], more))
    rows.append(seen("activations of single circuits", f"{N_SINGLE} of each", "chance", circuits.single(place)))
    rows.append(seen("gradient Gram matrix", "", "model", span.T.float()))
    rows.append(seen("gradient of each output", "", "model", circuits.readouts))
    source = Drawn(draw, place.seed, config.batch_size, circuits.outputs)
    transcoder = trained(source, place, "transcoder", kind="topk", d_sae=2 * n_circuits, k=4)
    live, read = alive(transcoder, h), transcoder.encoder_rows()
    assert read is not None
    l0, y = float((transcoder.encode(h) != 0).sum(1).float().mean()), circuits.outputs(h)
    rows.append(seen("transcoder", "k=4", "model", read[live], {"l0": l0, "fvu": fvu(transcoder(h).detach(), y)}))
    return RunSeen(rows, {"output_fvu": fvu(y, inputs[:, :n_circuits].square())})


def _autoencoders(n_neurons: int) -> dict[str, dict[str, Any]]:
    return {
        "topk k=8": {"kind": "topk", "d_sae": 2 * n_neurons, "k": 8},
        "relu l1=1": {"kind": "relu", "d_sae": 2 * n_neurons, "l1": 1.0},
    }


def _values(rows: Float[Tensor, "m d"], circuits: Circuits, span: Float[Tensor, "d r"]) -> dict[str, float]:
    if not len(rows):
        return dict.fromkeys(("cosine", "cosine_within", "clustered", "read_share"), float("nan"))
    inside = _inside(rows, circuits)
    return {
        "cosine": best_cosine(rows, circuits.readouts),
        "cosine_within": _within(rows, inside, circuits),
        "clustered": float((inside.square().sum(-1).max(1).values >= _WITHIN).float().mean()),
        "read_share": float(in_span(unit(rows), span).mean()),
        "n_directions": float(len(rows)),
    }


def _inside(rows: Float[Tensor, "m d"], circuits: Circuits) -> Float[Tensor, "m c u"]:
    """Rows of unit length in the coordinates of every circuit's subspace."""
    return torch.einsum("md,cud->mcu", unit(rows), circuits.units)


def _within(rows: Float[Tensor, "m d"], inside: Float[Tensor, "m c u"], circuits: Circuits) -> float:
    """The best |cosine| with its readout among each circuit's own directions, inside its subspace; mean over circuits
    that have any."""
    own, read = _own(inside), _inside(circuits.readouts, circuits)
    found = [best_cosine(inside[own[:, c], c], read[c, c][None]) for c in range(own.shape[1]) if bool(own[:, c].any())]
    return sum(found) / len(found) if found else float("nan")


def _own(inside: Float[Tensor, "m c u"]) -> Bool[Tensor, "m c"]:
    return inside.square().sum(-1) >= _WITHIN


class _Chances:
    """What random directions reach: in the space of all neurons, and inside each circuit's subspace as many as a method
    has there."""

    def __init__(self, place: Place, circuits: Circuits, span: Float[Tensor, "d r"]):
        self._place, self._circuits, self._span = place, circuits, span
        self._everywhere = dict[int, dict[str, Chance]]()

    def of(self, rows: Float[Tensor, "m d"]) -> dict[str, Chance]:
        m, n_draws = len(rows), max(20, self._place.config.n_draws // 10)
        if not m:
            return {}
        if m not in self._everywhere:
            draws = self._place.generator("random", m)
            at = lambda statistic: chance_of(statistic, m, rows.shape[1], n_draws, draws)
            self._everywhere[m] = {
                "cosine": at(lambda one: best_cosine(one, self._circuits.readouts)),
                "read_share": at(lambda one: float(in_span(one, self._span).mean())),
                "clustered": at(lambda one: float(_own(_inside(one, self._circuits)).any(1).float().mean())),
            }
        return self._everywhere[m] | self._inside_circuits(rows, n_draws)

    def _inside_circuits(self, rows: Float[Tensor, "m d"], n_draws: int) -> dict[str, Chance]:
        counts = [int(n) for n in _own(_inside(rows, self._circuits)).sum(0) if n]
        if not counts:
            return {}
        target, draws = torch.eye(1, N_UNITS), self._place.generator("within", len(rows))
        drawn = lambda: [best_cosine(torch.randn(n, N_UNITS, generator=draws), target) for n in counts]
        means = torch.tensor([sum(one) / len(counts) for one in (drawn() for _ in range(n_draws))])
        return {"cosine_within": Chance(float(means.mean()), float(means.quantile(0.95)))}
