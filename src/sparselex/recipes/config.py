"""What a run reads: its model, its text and its place in the model, and how a run is begun."""

from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt

from sparselex.base.config import Config
from sparselex.base.sites import Mask
from sparselex.base.workspace import MAIN
from sparselex.lm.config import ModelConfig, Twin
from sparselex.lm.embedded import settled_model
from sparselex.recipes.option import Option
from sparselex.text.config import CorpusConfig
from sparselex.text.identity import settled


class RunConfig(Config):
    """One run: one dictionary at one place of one model, or as a crosscoder at several."""

    model: ModelConfig
    """The model read."""

    second_model: ModelConfig | None = None
    """A second model with the same tokenizer, read at the same hook: a crosscoder between the two."""

    text: CorpusConfig
    """The text, and how it is cut into rows."""

    hook: str | None = None
    """Where the model is read; None takes the default of the model. Several joined by `+` make a crosscoder."""

    target: str | None = None
    """What a transcoder reconstructs from what is read; None for a dictionary that reconstructs its input. As many
    hooks joined by `+` as are read make a cross-layer transcoder."""

    mask: Mask = Mask()
    """Tokens left out everywhere: in training, in the index, in every figure."""

    twin_of: str | None = None
    """The run that this one is a control of; None for a run that is no control."""

    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of the stages that were taken, by verb."""

    def with_stage(self, verb: str, options: dict[str, Any]) -> "RunConfig":
        """The same with these options of one stage."""
        return self.with_stages(self.stages | {verb: options})

    def with_stages(self, stages: dict[str, dict[str, Any]]) -> "RunConfig":
        """The same with the options of these stages and of no other; sorted, so that what a run keeps does not tell in
        what order it was taken."""
        return self.model_copy(update={"stages": dict(sorted(stages.items()))})


class Reads(Config):
    """What a new run reads."""

    model: str = "embedded"
    """`embedded`, `embedded-b`, or any Hugging Face causal language model: a name or a local folder."""

    text: str = "stdlib"
    """`stdlib` (the running Python's standard library), a file or folder (text, JSON, JSONL, Parquet), or a Hugging
    Face dataset (NAME or NAME:SPLIT)."""

    hook: str | None = None
    """Where to read the model; `sparselex hooks MODEL` lists the names; several joined by + make a crosscoder. Left
    out, the MLP's hidden layer of a one-layer model, else the residual stream after the middle layer."""

    target: str | None = None
    """A second hook, to be reconstructed from the first: a transcoder; as many joined by + as are read for a
    cross-layer transcoder (train --kind clt). Left out, the hook itself."""

    second_model: str | None = None
    """A second model with the same tokenizer, read at the same hook: a crosscoder between the two."""

    n_tokens: Annotated[PositiveInt | None, Option("--tokens")] = 5_500_000
    """Tokens of text in the corpus."""

    n_ctx: Annotated[PositiveInt, Option("--context")] = 128
    """Tokens in a row of the corpus."""

    device: str = "cpu"
    """Where the model runs and dictionaries are trained: cpu, cuda, cuda:1."""

    trust_remote_code: bool = False
    """Run model code that comes with the weights. Only if you trust it."""

    def run_config(self) -> RunConfig:
        """A run on this, with our defaults; files and folders by their whole paths, so that it goes on from any folder.
        Raises `UserError` where a value is impossible."""
        model: dict[str, Any] = {"device": self.device, "trust_remote_code": self.trust_remote_code}
        second = settled_model(self.second_model) if self.second_model else None
        values: dict[str, Any] = {
            "model": model | {"name": settled_model(self.model)},
            "second_model": model | {"name": second} if second else None,
            "text": {"source": settled(self.text), "n_ctx": self.n_ctx, "n_tokens": self.n_tokens},
            "hook": self.hook,
            "target": self.target,
        }
        return RunConfig.parse(values, "the options of the run")


class Beginning(Reads):
    """What a new run reads, and whether as a control of another run."""

    twin: Twin = "none"
    """Read a random-weight twin in the model's place: none, reinitialised, permuted or gaussian."""

    twin_seed: NonNegativeInt = 0
    """Seed of the twin's weights."""

    twin_of: str | None = None
    """The run that this one is a control of: its figures then stand beside that run's."""

    def run_config(self) -> RunConfig:
        config = super().run_config()
        drawn = {"twin": self.twin, "twin_seed": self.twin_seed}
        second = config.second_model and config.second_model.model_copy(
            update=drawn | {"twin_seed": self.twin_seed + 1}
        )
        model = config.model.model_copy(update=drawn)
        return config.model_copy(update={"model": model, "second_model": second, "twin_of": self.twin_of})


def as_begun(config: RunConfig) -> dict[str, Any]:
    """The fields of `Beginning` from which a run takes what `config` says it reads."""
    model, second, text = config.model, config.second_model, config.text
    return {
        "model": model.name,
        "text": text.source,
        "hook": config.hook,
        "target": config.target,
        "second_model": second.name if second else None,
        "n_tokens": text.n_tokens,
        "n_ctx": text.n_ctx,
        "device": model.device,
        "trust_remote_code": model.trust_remote_code,
        "twin": model.twin,
        "twin_seed": model.twin_seed,
        "twin_of": config.twin_of,
    }


def new_run(model: str = "embedded", text: str = "stdlib", **options: Any) -> RunConfig:
    """What a new run reads, with our defaults; `options` are the other fields of `Beginning`.

    All the text is read unless `n_tokens` says otherwise. Raises `UserError` for an unknown option and an impossible
    value.
    """
    values = {"n_tokens": None} | options | {"model": model, "text": text}
    return Beginning.parse(values, "the options of the run").run_config()


def twin_of(config: RunConfig, run: str = MAIN) -> RunConfig:
    """The run `run` on the model with freshly drawn weights: what every figure is compared with.

    Its evaluation has no control dictionaries of its own: the report shows those of the model itself.
    """
    drawn = {"twin": "reinitialised"}
    second = config.second_model and config.second_model.model_copy(update=drawn | {"twin_seed": 1})
    model = config.model.model_copy(update=drawn)
    twin = config.model_copy(update={"model": model, "second_model": second, "twin_of": run})
    return twin.with_stage("evaluate", config.stages.get("evaluate", {}) | {"controls": []})
