"""A whole run as one value: what is read, what is trained, how it is indexed, explained and evaluated."""

from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt

from sparselex.activations.harvest import Precision
from sparselex.activations.masks import MaskConfig
from sparselex.activations.prefetch import Prefetch
from sparselex.base.config import Config
from sparselex.dictionaries.sparse import Selection
from sparselex.dictionaries.table import Kind
from sparselex.evaluate.diff import DiffConfig
from sparselex.evaluate.evaluate import EvaluateConfig
from sparselex.explain.explain import ExplainConfig
from sparselex.features.build import IndexConfig
from sparselex.lm.subject import ModelConfig
from sparselex.text.corpus import CorpusConfig
from sparselex.training.frozen import Frozen


class TrainingChoice(Config):
    """The few choices about training that a person makes; the recipe fills in the rest from the data's width."""

    kind: Kind = "batchtopk"
    """Type of dictionary."""

    expansion: PositiveFloat = 8
    """Latents per dimension of the activations."""

    k: PositiveInt = 32
    """Latents kept per token (topk, batchtopk, matryoshka, abstopk, archetypal; over all layers together for clt), aimed at (jumprelu)
    or steps (matching_pursuit)."""

    l1: PositiveFloat | None = None
    """Weight of the L1 penalty (relu, gated, panneal); None takes the default of the type."""

    n_tokens: PositiveInt | None = None
    """Tokens to train on, passing over the training documents as often as needed; None is one pass."""

    selection: Selection | None = None
    """Precision in which training chooses latents (types with k); None takes the fastest on this machine."""

    frozen: Frozen = "nothing"
    """What never learns, for controls: `decoder`, `soft_decoder` or `encoder`."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the type's configuration, by name."""

    skip: bool = False
    """Whether a transcoder also passes a linear function of its input."""

    prefetch: Prefetch = 0
    """Blocks of activations read ahead by a process of their own; 0 reads each when it is needed. The result is the same."""

    seed: int = 0
    """Seed of the weights and of the order of the data."""


class RunConfig(Config):
    """One run: one dictionary on one hook of one model, or as a crosscoder on several."""

    model: ModelConfig
    """The model read."""

    text: CorpusConfig
    """The token corpus of the workspace."""

    hook: str | None = None
    """Where the model is read; None takes the default of the model. Several sites joined by `+` make a crosscoder."""

    target: str | None = None
    """What a transcoder reconstructs from what is read; None for a dictionary that reconstructs its input. As many sites joined by `+` as
    are read make a cross-layer transcoder."""

    second_model: ModelConfig | None = None
    """A second model with the same tokenizer, read at the same hook: a crosscoder between the two."""

    mask: MaskConfig = MaskConfig()
    """Tokens left out everywhere: in training, in the index, in every figure."""

    cached: bool = False
    """Whether activations are kept on disk as shards; otherwise they go straight from the model into training."""

    shard_dtype: Precision = "float32"
    """Precision of those shards: float32, bfloat16, or int8 with a scale for every token."""

    training: TrainingChoice = TrainingChoice()
    """The dictionary."""

    index: IndexConfig = IndexConfig(train_rows=8_000)
    """The feature index."""

    explain: ExplainConfig = ExplainConfig()
    """Explanations and their scores."""

    evaluate: EvaluateConfig = EvaluateConfig()
    """The evaluation."""

    diff: DiffConfig = DiffConfig()
    """The comparison of two models."""


def new_run(
    model: str,
    text: str,
    *,
    hook: str | None = None,
    target: str | None = None,
    second_model: str | None = None,
    n_tokens: int | None = None,
    n_ctx: int = 128,
    control: str = "none",
    expansion: float = 8,
    k: int = 32,
    seed: int = 0,
    cached: bool = False,
    shard_dtype: str = "float32",
    trust_remote_code: bool = False,
    device: str = "cpu",
) -> RunConfig:
    """A run with our defaults. Raises `UserError` where a value is impossible."""
    return RunConfig.parse(
        {
            "model": {"name": model, "control": control, "trust_remote_code": trust_remote_code, "device": device},
            "text": {"source": text, "n_ctx": n_ctx, "n_tokens": n_tokens},
            "hook": hook,
            "target": target,
            "second_model": {"name": second_model, "trust_remote_code": trust_remote_code, "device": device}
            if second_model
            else None,
            "cached": cached,
            "shard_dtype": shard_dtype,
            "training": {"expansion": expansion, "k": k, "seed": seed},
        },
        "the options of the run",
    )


def twin_of(config: RunConfig) -> RunConfig:
    """The same run on the model with freshly drawn weights: what every figure is compared with.

    Its evaluation has no control dictionaries of its own: the report shows those of the model itself.
    """
    drawn = {"control": "reinitialised"}
    second = config.second_model and config.second_model.model_copy(update=drawn | {"control_seed": 1})
    evaluation = config.evaluate.model_copy(update={"controls": ()})
    model = config.model.model_copy(update=drawn)
    return config.model_copy(update={"model": model, "second_model": second, "evaluate": evaluation})
