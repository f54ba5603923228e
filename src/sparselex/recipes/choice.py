"""What a person chooses about training; the recipe fills in the rest from the data's width."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sparselex.base.bounds import Amount, Count, Expansion, LastShare, Passes, Seed, Tokens
from sparselex.base.config import Config
from sparselex.dictionaries.kinds import Finish, Frozen, Kind, SelectionDtype
from sparselex.recipes.option import Option

Recipe = Literal["ours", "2023"]
"""Where what nobody chose is taken from."""


class TrainingChoice(Config):
    """The few choices about training that a person makes."""

    kind: Kind = "batchtopk"
    """Type of dictionary."""

    expansion: Expansion = 8.0
    """Latents per dimension of the activations."""

    k: Count | None = None
    """Latents kept per token, over all layers together for clt; the number aimed at for jumprelu, of steps for
    matching_pursuit. Left out, the default of the type: 32. Not for relu, gated and panneal."""

    l1: Amount | None = None
    """Weight of the L1 penalty (relu, gated, panneal). Left out, the default of the type."""

    n_tokens: Annotated[Tokens | None, Option("--tokens")] = None
    """Tokens to train on, passing over the training documents as often as needed. Left out, by `passes`."""

    passes: Passes = 1.0
    """Passes over the training documents, or the part of one, where the tokens are not given."""

    selection: SelectionDtype | None = None
    """Precision in which training chooses latents, for the types that choose. Left out, the fastest on this machine."""

    finish: Finish = "nothing"
    """What the last tokens are trained on: `kl`, half on reconstruction and half on what the model's predictions lose
    by it, at the same L0; `e2e`: on the latter alone; `downstream`: half on the latter and half on the error of the
    residual streams behind the site; `attribution`: on few latents that matter by the gradient of the loss;
    `influence`: latents are chosen by it too. Runs the model, also where activations are on disk."""

    finish_share: LastShare = 0.1
    """Share of the tokens that the finish takes, where there is one."""

    frozen: Frozen = "nothing"
    """What never learns, for controls: `decoder`, `soft_decoder` (rows stay near their first direction) or
    `encoder`."""

    recipe: Recipe = "ours"
    """Where everything comes from that is not chosen: `ours`, or `2023`, that of Towards Monosemanticity scaled down by
    ratio (relu). In the latter `l1` is the paper's coefficient, for a mean squared error of raw activations; left out,
    0.004."""

    options: Annotated[dict[str, Any], Option("--option", pairs=True)] = Field(default_factory=dict)
    """Another field of the type's configuration, such as convention="2023"; may be repeated."""

    skip: bool = False
    """Whether a transcoder also passes a linear function of its input."""

    seed: Seed = 0
    """Seed of the weights and of the order of the data."""

    settings: Annotated[dict[str, Any], Option(hidden=True)] = Field(default_factory=dict)
    """Other fields of the training configuration (`TrainConfig`), by name, where a person or a finished training
    decided them."""

    def tokens_of(self, n_training: int) -> int:
        """Tokens to train on where the training documents have `n_training`."""
        return self.n_tokens or max(1, round(self.passes * n_training))
