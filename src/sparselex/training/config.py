"""How a dictionary is trained: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field, FiniteFloat, PositiveFloat, field_validator, model_validator

from sparselex.base.bounds import Amount, Count, LastShare, Listed, Seed, Tokens
from sparselex.base.config import Config
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.kinds import Finish, Frozen, Gradients
from sparselex.dictionaries.table import AnyDictionaryConfig, kind_of

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""


CHOOSING = ("batchtopk", "topk")
"""Types that keep the k largest contributions, of which a finish by influence may make another choice."""


class TrainConfig(Config):
    """How a dictionary is trained. Inputs are scaled to E|x|² = d_in; errors are summed over `d_in`, averaged over
    tokens."""

    dictionary: AnyDictionaryConfig
    """The type and its size."""

    n_tokens: Tokens
    """Tokens to train on."""

    batch_size: Count = 4096
    """Tokens in a step, nearly (a source may divide its blocks evenly)."""

    lr: Amount | None = None
    """Peak learning rate of Adam; None takes `schedules.peak_lr`."""

    warmup_share: Share = 0.05
    """Share of the steps over which the learning rate rises, at most 1,000 steps."""

    decay_share: Share = 0.2
    """Share of the steps at the end over which it falls to zero."""

    clip: PositiveFloat | None = 1.0
    """Largest norm of the gradient; None leaves gradients as they are."""

    auxk_alpha: FiniteFloat = Field(default=1 / 32, ge=0)
    """Weight of the AuxK term; 0 switches it off."""

    k_aux: Count | None = None
    """Dead latents that reconstruct the residual; None is half of `d_in`, for a cross-layer transcoder half of its
    widest layer's."""

    auxk_share: Count = 2
    """AuxK looks at every n-th token of a batch."""

    dead_after_tokens: Tokens = 10_000_000
    """Tokens of silence after which a latent counts as dead."""

    resample_after_tokens: Tokens | None = None
    """Tokens of silence after which a latent is resampled, where the type resamples; None takes
    `dead_after_tokens`."""

    resample_tokens: Tokens | None = None
    """Tokens among which those are drawn that latents are resampled to, in whole batches: the next ones of the stream,
    which nothing was learned from yet, under the weights of that moment. None takes the batch at hand, as a finish
    always does."""

    gradients: Gradients = "auto"
    """How codes are decoded and weight gradients summed: the sparse way, the dense way (equal up to rounding), the
    sparse way reading inputs and rows rounded to bfloat16, or (auto) whichever of the first two is faster."""

    finish: Finish = "nothing"
    """What the last tokens are trained on. `kl`: half on reconstruction, half on the KL divergence of the model's
    predictions with the reconstruction in its place, which needs the model; L0 stays what it was before. `e2e`: on that
    divergence alone. `downstream`: half on it, half on the error of the residual streams behind the site.
    `attribution`: on reconstruction, on few latents that matter by the gradient of the loss, and an error that does
    not. `influence`: on reconstruction, latents being chosen by what they give and by how much it matters by that
    gradient too (`topk` and `batchtopk`)."""

    finish_share: LastShare = 0.1
    """Share of the tokens that the finish takes, where there is one."""

    frozen: Frozen = "nothing"
    """What stays as it was drawn, for controls: `decoder`, `soft_decoder` (rows stay within `frozen_cosine` of their
    first direction) or `encoder`."""

    frozen_cosine: Share = 0.8
    """Least cosine of a decoder row with its first direction, for `soft_decoder`."""

    calibration_batches: Listed = 8
    """Batches from which the input scale and the mean are measured before the first step."""

    checkpoint_tokens: Tokens = 1_000_000
    """Tokens between checkpoints."""

    log_steps: Count = 20
    """Steps between lines of the log."""

    validation_steps: Count = 100
    """Steps between measurements on held-out activations, where there are any."""

    device: str = "cpu"
    """Torch device of the weights; batches are moved to it."""

    seed: Seed = 0
    """Seed of the weights."""

    @field_validator("dictionary")
    @classmethod
    def _is_trainable(cls, dictionary: DictionaryConfig) -> DictionaryConfig:
        if dictionary.only_read:
            raise ValueError(
                f"{dictionary.only_read} is for dictionaries that are read from other projects' files: leave it out"
            )
        return dictionary

    @model_validator(mode="after")
    def _has_a_choice(self) -> "TrainConfig":
        kind = kind_of(self.dictionary)
        if self.finish == "influence" and kind not in CHOOSING:
            raise ValueError(
                f"finish='influence' makes another choice of the k largest latents, and {kind} has none that it knows: "
                f"take one of {', '.join(CHOOSING)}, or another finish"
            )
        return self

    @property
    def n_steps(self) -> int:
        """Steps that `n_tokens` are expected to take; schedules are laid out over it."""
        return max(1, round(self.n_tokens / self.batch_size))

    @property
    def n_tokens_before_finish(self) -> int:
        """Tokens after which the finish begins; all of them where there is none."""
        share = 0.0 if self.finish == "nothing" else self.finish_share
        return self.n_tokens - round(share * self.n_tokens)
