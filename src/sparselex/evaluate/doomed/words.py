"""What is said of the examples: titles, claims, how they are built, and what each measure is."""

from typing import NamedTuple

from sparselex.evaluate.doomed.config import N_UNITS, SPREAD, DoomedConfig, Example

_N = {"n_directions": "directions that it has, live latents of a dictionary", "l0": "active latents of a sample"}
_FVU = {"fvu": "share of the variance that is not reconstructed, of outputs for a transcoder"}
_READ = "share of directions' squared length in what gradients of the output span"

NAMES = {
    "off_on": "error off the curve / on it",
    "purity": "purity",
    "fvu_on": "FVU on the curve",
    "fvu_off": "FVU off the curve",
    "out_on": "FVU of outputs on the curve",
    "out_off": "FVU of outputs off the curve",
    "fine": "in the fine quarter",
    "f1": "F1",
    "cosine": "|cosine|",
    "cosine_within": "|cosine| inside a circuit",
    "clustered": "of one circuit",
    "lost_fine": "lost in the fine quarter",
    "lost_coarse": "lost elsewhere",
    "product": "values found",
    "composed": "combinations found",
    "read_share": "share that is read",
    "n_directions": "directions",
    "l0": "L0",
    "fvu": "FVU",
    "mse": "mean squared error",
    "variance_share": "variance along the readout",
    "readout_read": "of the readout read",
    "complement_read": "of its complement read",
    "output_fvu": "FVU of outputs",
    "error_on": "error of the model on the curve",
    "error_off": "error of the model off the curve",
}
"""What measures and facts are called in tables and charts."""


def called(measure: str) -> str:
    """The name of a measure or a fact in words, also of one that has none here."""
    return NAMES.get(measure, measure.replace("_", " "))


class Words(NamedTuple):
    """What is said of one example."""

    title: str
    claim: str
    built: str
    measures: dict[str, str]
    drawn: list[str]
    facts: dict[str, str]


def words_of(example: Example, config: DoomedConfig) -> Words:
    """The words of an example, with its sizes."""
    return _SCALED[example](config) if example in _SCALED else _WORDS[example]


def _superposed(config: DoomedConfig) -> Words:
    n_units, n_neurons = N_UNITS * config.n_circuits, config.n_neurons
    return Words(
        title="Function approximation in superposition",
        claim="Each circuit has a subspace with one used direction; the others look meaningful, cluster by circuit, "
        "and are scaffolding.",
        built=f"{config.n_circuits} circuits for x², {N_UNITS} ReLU units each, trained one by one; each unit is put "
        f"on {SPREAD} of {n_neurons} neurons at random, so that {n_units} units share them ({n_units / n_neurons:.3g} "
        "units "
        f"a neuron; the post's example has 20, with 80,000 circuits in 40,000 neurons). Two circuits are on in a "
        "sample on average; readouts are fitted by least squares inside each circuit's units.",
        measures={
            "cosine_within": "largest |cosine| with the circuit's readout among directions that are of one circuit "
            "(80 % of their squared length in its ten dimensions), inside these dimensions, mean over circuits that "
            "have any; null: as many random directions inside them",
            "cosine": "largest |cosine| of any direction with a circuit's readout, mean over circuits",
            "clustered": "share of directions that are of one circuit",
            "read_share": _READ,
            **_N,
            **_FVU,
        },
        drawn=["cosine_within", "clustered"],
        facts={"output_fvu": "error of the circuits' outputs in superposition, as a share of the squares' variance"},
    )


_SCALED = {"superposed": _superposed}

_WORDS: dict[str, Words] = {
    "unused": Words(
        title="Structure of the data that the model does not use",
        claim="Points lie on an intricate curve that is plain to see in the activations, and absent from a computation "
        "that treats x and y as unrelated.",
        built="A Lissajous curve (3 and 4 turns). Two networks of 16 ReLU units, one of x and one of y, trained on "
        "numbers that are independent, compute sin 3x, x², sin 3y, y²; their 32 units are turned together by a random "
        "rotation. Dictionaries have 128 latents.",
        measures={
            "off_on": "error of the outputs when activations off the curve are replaced by their reconstruction, as a "
            "multiple of the same on the curve; for a model that knows no curve it is 1",
            "purity": "larger of the shares of a direction's squared length in x's units and in y's, mean over "
            "directions",
            "fvu_on": "share of the variance of activations on the curve that is not reconstructed",
            "fvu_off": "the same off the curve",
            "out_on": "the same of the outputs, on the curve",
            "out_off": "the same of the outputs, off the curve",
            **_N,
        },
        drawn=["off_on", "purity"],
        facts={
            "error_on": "error of the model on the curve, as a share of its outputs' variance",
            "error_off": "the same off the curve",
        },
    ),
    "manifold": Words(
        title="The wrong dictionary for the same manifold",
        claim="A dictionary tiles a curve by variance and reconstructs it well, while the model reads it by other "
        "directions, unevenly fine.",
        built="A closed curve in ten dimensions (five frequencies), of one speed. The model has 100 windows "
        "relu(w·h - b) of height 1, 75 of them in one quarter of the curve, and each writes a vector of its own in 32 "
        "dimensions. Dictionaries have 500 latents.",
        measures={
            "fine": "share of live latents that peak in the fine quarter; the model's windows: 0.75; null: as the "
            "curve is long, 0.25",
            "f1": "best F1 of any latent's activity for a window's, mean over windows; null: every latent moved "
            "along the curve by a distance of its own",
            "cosine": "largest |cosine| of any direction with a window's, mean over windows",
            "fvu": "share of the curve's variance that is not reconstructed",
            "lost_fine": "error of the model's outputs on reconstructions, as a share of their variance, in the fine "
            "quarter (above 1: worse than the mean); of a transcoder that of its outputs",
            "lost_coarse": "the same on the rest of the curve",
            **_N,
        },
        drawn=["fine", "f1"],
        facts={},
    ),
    "composition": Words(
        title="Composition: colour and shape",
        claim="Later layers read colour and shape separately, and sparsity favours a latent for every combination.",
        built="x = colour + shape, Gaussian directions of equal length: 2 by 2 in 8 dimensions, 10 by 10 in 32. The "
        "model reads which colour and which shape by two linear readouts. A value or a combination is found where a "
        "latent's F1 for it is 0.9 or more.",
        measures={
            "product": "share of values (colours and shapes) that are found; null: random directions that fire as "
            "often",
            "composed": "share of combinations that are found; null: random directions that fire as often",
            "purity": "larger of the shares of a direction that the readouts of colour and of shape take, mean over "
            "directions: 1 is of one of them, 0.5 of both alike",
            **_N,
            **_FVU,
        },
        drawn=["product", "composed"],
        facts={},
    ),
    "scaffolding": Words(
        title="Function approximation: scaffolding",
        claim="Of ten hidden directions one is used, the readout, and it does not stand out in the activations.",
        built=f"{N_UNITS} ReLU units trained to compute x² of a number between -1 and 1. Dictionaries have 40 latents.",
        measures={
            "cosine": "largest |cosine| of any direction with the readout",
            "read_share": f"{_READ}, mean over directions",
            **_N,
            **_FVU,
        },
        drawn=["cosine"],
        facts={
            "mse": "mean squared error of the network",
            "variance_share": "share of the units' variance that lies along the readout",
            "readout_read": "share of the readout's squared length in what gradients span",
            "complement_read": "largest such share of any direction of its complement",
        },
    ),
}
