"""What a run reads: its model, its text and its place in the model, and how a run is begun."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sparselex.base.bos import Bos
from sparselex.base.bounds import RowTokens, Seed, Tokens
from sparselex.base.config import Config
from sparselex.base.runs import RunName
from sparselex.base.sites import Mask
from sparselex.base.workspace import MAIN
from sparselex.dictionaries.kinds import Frozen
from sparselex.lm.config import Engine, ModelConfig, ModelDtype, Twin
from sparselex.lm.embedded import LEARNED
from sparselex.lm.named import settled_model
from sparselex.recipes.option import Option
from sparselex.text.config import CorpusConfig, HeldOutDocuments, Shares
from sparselex.text.identity import settled

_OF_RUN = ("hook", "target", "twin_of")
_OF_MODELS = {
    "device": "device",
    "model_dtype": "dtype",
    "attention": "attention",
    "engine": "engine",
    "trust_remote_code": "trust_remote_code",
}
_OF_TEXT = {
    "text": "source",
    "text_field": "text_field",
    "documents": "documents",
    "n_tokens": "n_tokens",
    "n_ctx": "n_ctx",
    "bos": "bos",
    "shares": "shares",
    "split_seed": "seed",
}
"""Fields of `Beginning` by where in a run's configuration they stand; those of models are both models'."""

_PATHS: dict[str, Callable[[str], str]] = {"text": settled, "model": settled_model, "second_model": settled_model}
"""Those that may be paths, with what makes them whole."""


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

    twin_of: RunName | None = None
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

    def with_twin(self, twin: Twin, seed: int) -> "RunConfig":
        """The same on models with weights of that kind, drawn by `seed`; a second model's by the next one, so that two
        models of one shape do not get the same weights."""
        model = self.model.model_copy(update={"twin": twin, "twin_seed": seed})
        second = self.second_model and self.second_model.model_copy(update={"twin": twin, "twin_seed": seed + 1})
        return self.model_copy(update={"model": model, "second_model": second})

    @property
    def reads(self) -> dict[str, Any]:
        """What the run reads, as the fields of `Beginning`."""
        model, second = self.model.to_json(), self.second_model
        return {
            **{name: getattr(self, name) for name in _OF_RUN},
            **{name: getattr(self.text, inside) for name, inside in _OF_TEXT.items()},
            **{name: model[inside] for name, inside in _OF_MODELS.items()},
            **{name: model[name] for name in ("twin", "twin_seed")},
            "model": self.model.name,
            "second_model": second.name if second else None,
        }

    def with_reads(self, given: Mapping[str, Any]) -> "RunConfig":
        """The same with what these fields of `Beginning` say; all else stays as it is, what has no such field too.

        Files and folders are kept by their whole paths, so that a run goes on from any folder. Raises `UserError` where
        a value is impossible.
        """
        given = {name: _PATHS[name](value) if value and name in _PATHS else value for name, value in given.items()}
        shared = {inside: given[name] for name, inside in _OF_MODELS.items() if name in given}
        values = self.to_json() | {name: given[name] for name in _OF_RUN if name in given}
        values["text"] |= {inside: given[name] for name, inside in _OF_TEXT.items() if name in given}
        values["model"] |= shared | ({"name": given["model"]} if "model" in given else {})
        second = given.get("second_model", self.second_model and self.second_model.name)
        values["second_model"] = second and (values["second_model"] or values["model"]) | shared | {"name": second}
        told = self._divided_anew(RunConfig.parse(values, "the options of the run"))
        if "twin" in given or "twin_seed" in given or (second and self.second_model is None):
            return told.with_twin(given.get("twin", self.model.twin), given.get("twin_seed", self.model.twin_seed))
        return told

    def _divided_anew(self, told: "RunConfig") -> "RunConfig":
        """What was `told`, its text divided as a new run's where another model or another text is to be read; else as
        the run has it: one that goes on stays with the corpus of an earlier version."""
        if told.model.name == self.model.name and all(
            getattr(told.text, name) == getattr(self.text, name) for name in ("source", "text_field", "documents")
        ):
            return told
        divided = {"copies": "together", "held_out": _held_out(told.model.name, told.text.source)}
        return told.model_copy(update={"text": told.text.model_copy(update=divided)})


def _held_out(model: str, text: str) -> HeldOutDocuments | None:
    """The documents of a text that a model is known not to have learned; None where nothing is known."""
    learned = LEARNED.get(model)
    if learned is None or learned.text != text:
        return None
    return HeldOutDocuments(share=learned.held_out_share, seed=learned.seed)


class Reads(Config):
    """What a new run reads."""

    model: str = "embedded"
    """`embedded`, `embedded-b`, `smollm2` (a package of its own), or any Hugging Face causal language model: a name, a
    local folder or a GGUF file."""

    text: str = "stdlib"
    """`stdlib` (the running Python's standard library), a file or folder (text, JSON, JSONL, CSV, Parquet;
    also .gz), a Hugging Face dataset (NAME, NAME:SPLIT or NAME:CONFIGURATION:SPLIT), or a mixture by shares of tokens
    (A@0.7+B@0.3)."""

    text_field: str = ""
    """Field of a record that holds its text, or its token ids, or the messages of a chat; a.b for one inside another.
    Left out, the first of text, content, story, document and messages."""

    documents: Literal["file", "line"] = "file"
    """What a document is in plain text: file, or line."""

    hook: str | None = None
    """Where to read the model; `sparselex hooks MODEL` lists the names; several joined by + make a crosscoder. Left
    out, the MLP's hidden layer of a one-layer model, else the residual stream after the middle layer."""

    target: str | None = None
    """A second hook, to be reconstructed from the first: a transcoder; as many joined by + as are read for a
    cross-layer transcoder (train --kind clt). Left out, the hook itself."""

    second_model: str | None = None
    """A second model with the same tokenizer, read at the same hook: a crosscoder between the two."""

    n_tokens: Annotated[Tokens | None, Option("--tokens")] = 5_500_000
    """Tokens of text in the corpus."""

    n_ctx: Annotated[RowTokens, Option("--context")] = 128
    """Tokens in a row of the corpus."""

    bos: Bos = "auto"
    """Whether every row begins with the tokenizer's token for that: auto where the tokenizer itself begins a text with
    it, always, or never."""

    shares: Annotated[Shares, Option(metavar="TRAIN,VALIDATION,TEST")] = (0.8, 0.1, 0.1)
    """Expected shares of documents in train, validation and test. Where it is known what the model has learned, test is
    what it has not, and these are the shares of the rest."""

    split_seed: Seed = 0
    """Seed by which documents are divided."""

    device: str = "cpu"
    """Where the model runs and dictionaries are trained: cpu, cuda, cuda:1."""

    model_dtype: ModelDtype = "float32"
    """Precision of weights and activations inside the model: float32, bfloat16, float16, or auto for its files' own."""

    attention: str = ""
    """How the model computes attention, as transformers names it: eager, sdpa, flash_attention_2. Left out, its own
    choice."""

    engine: Engine = "transformers"
    """What runs the model: transformers, or interp-engine, which reads and does not edit (harvest, train, index), with
    vLLM on every GPU where that is installed."""

    trust_remote_code: bool = False
    """Run model code that comes with the weights. Only if you trust it."""

    def run_config(self) -> RunConfig:
        """A run on this, with our defaults. Raises `UserError` where a value is impossible."""
        return _NOTHING.with_reads({name: getattr(self, name) for name in Reads.model_fields})


class Beginning(Reads):
    """What a new run reads, and whether as a control of another run."""

    twin: Twin = "none"
    """Read a random-weight twin in the model's place: none, reinitialised, permuted, gaussian,
    gaussian_kept, which keeps the embedding of tokens, or redrawn, which draws that anew wherever a token stands."""

    twin_seed: Seed = 0
    """Seed of the twin's weights."""

    twin_of: RunName | None = None
    """The run that this one is a control of: its figures then stand beside that run's."""

    def run_config(self) -> RunConfig:
        return _NOTHING.with_reads({name: getattr(self, name) for name in Beginning.model_fields})


_NOTHING = RunConfig(model=ModelConfig(name=""), text=CorpusConfig(source=""))
"""A run that has not been told what to read."""


def new_run(model: str = "embedded", text: str = "stdlib", **options: Any) -> RunConfig:
    """What a new run reads, with our defaults; `options` are the other fields of `Beginning`.

    All the text is read unless `n_tokens` says otherwise. Raises `UserError` for an unknown option and an impossible
    value.
    """
    values = {"n_tokens": None} | options | {"model": model, "text": text}
    return Beginning.parse(values, "the options of the run").run_config()


def twin_of(config: RunConfig, run: str = MAIN, twin: Twin = "reinitialised") -> RunConfig:
    """The run `run` on the model with weights that were not learned, freshly drawn ones where nothing is said: what
    every figure is compared with."""
    return control_of(config.with_twin(twin, config.model.twin_seed), run)


def frozen_of(config: RunConfig, run: str = MAIN, frozen: Frozen = "decoder") -> RunConfig:
    """The run `run` with a part of its dictionary that stays as it was drawn, or near: what the rest learns on the
    same model."""
    return control_of(config.with_stage("train", config.stages.get("train", {}) | {"frozen": frozen}), run)


def control_of(config: RunConfig, run: str) -> RunConfig:
    """The same as a control of the run `run` which has that configuration: every stage as there, but that its
    evaluation has no control dictionaries of its own, as the report shows those of the run."""
    stages = {verb: options for verb, options in config.stages.items() if verb in _OF_CONTROLS}
    stages["evaluate"] = stages.get("evaluate", {}) | {"controls": []}
    return config.model_copy(update={"twin_of": run}).with_stages(stages)


_OF_CONTROLS = ("harvest", "train", "index", "explain", "evaluate")
"""Stages that a control goes through like its run."""
