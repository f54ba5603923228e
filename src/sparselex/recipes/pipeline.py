"""The stages of one run in a workspace: what `harvest`, `train`, `index`, `explain` and `evaluate` do from the command
line.

Each stage is skipped when its artifact exists and its configuration and inputs are unchanged.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sparselex.activations.config import HarvestConfig
from sparselex.activations.divided import DividedUnits
from sparselex.activations.harvest import harvest
from sparselex.activations.live import LiveUnits, Reader, spread
from sparselex.activations.mixing import mixing
from sparselex.activations.prefetch import reading_ahead
from sparselex.activations.shuffle import ShuffledSource
from sparselex.activations.source import Units
from sparselex.activations.store import ActivationStore
from sparselex.atlas.diff import diff
from sparselex.atlas.records import ModelDiff
from sparselex.base.artifacts import Manifest, fingerprint, open_artifact, stage
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.base.sites import Sites, hooks_of
from sparselex.base.workspace import Workspace
from sparselex.convert.doors import Imported, export_dictionary, import_dictionary
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.table import AnyDictionaryConfig, config_type
from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.evaluate import evaluate
from sparselex.evaluate.records import Evaluation
from sparselex.evaluate.report import write_report
from sparselex.explain.explain import ExplainSummary, explain
from sparselex.features.build import build_index
from sparselex.features.index import FeatureIndex
from sparselex.lm.load import load_model
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import Place, Readable
from sparselex.recipes.run import ONE_SITE, RunConfig, TrainingChoice
from sparselex.text.build import build_corpus
from sparselex.text.corpus import TokenCorpus
from sparselex.text.sources import load_documents, text_id
from sparselex.training.config import TrainConfig
from sparselex.training.train import check_together, train
from sparselex.training.trainer import Observer

BLOCK_TOKENS = 131_072
"""Tokens mixed at a time: about a thousand rows, so a batch of 4,096 holds few tokens of one row."""

MEASURED_BATCHES = 16
"""Batches by which the mixing is judged: tens of millions of pairs of tokens."""

VALIDATION_ROWS = 32
"""Rows of held-out text that training is watched on."""

CHECKPOINT_TOKENS = 500_000
"""Training can be killed at any moment; this much of it is at most done again."""


def default_hook(model: Readable) -> str:
    """The MLP's hidden layer of a one-layer model, as in the 2023 paper; else the residual stream after the middle
    layer."""
    if model.n_layers == 1:
        return "blocks.0.mlp.hook_post"
    return f"blocks.{model.n_layers // 2}.hook_resid_post"


class ImportConfig(Config):
    """Where an imported dictionary came from."""

    source: str
    """Folder, file or Hugging Face name, as it was given."""

    format: str
    """The format it was in."""

    dictionary: AnyDictionaryConfig
    """The type it became, and its size; what its project says of training is not kept."""


class Pipeline:
    """One run in one workspace. Once its model and text are known to be good, the configuration is kept in
    `runs/<run>/run.json`."""

    def __init__(self, workspace: Workspace, run: str, config: RunConfig):
        self.workspace, self.run, self.config = workspace, run, config
        self.folder = workspace.run(run)

    @classmethod
    def open(cls, workspace: Workspace, run: str) -> "Pipeline":
        """The run as it was configured by an earlier stage. Raises `UserError` if there is none of that name."""
        config = RunConfig.parse(workspace.settings(run), str(workspace.run(run) / "run.json"))
        return cls(workspace, run, config.model_copy(update={"training": config.training.as_used()}))

    def use_training(self, choice: TrainingChoice) -> "Pipeline":
        """The same run with another choice of what is trained. Raises `UserError` for a choice that means nothing to
        its type."""
        choice.check(has_target=self.config.target is not None)
        return Pipeline(self.workspace, self.run, self.config.model_copy(update={"training": choice}))

    def use_controls(self, controls: Sequence[str]) -> "Pipeline":
        """The same run with other control dictionaries in its evaluation. Raises `UserError` for an unknown name."""
        values = self.config.evaluate.to_json() | {"controls": list(controls)}
        evaluation = EvaluateConfig.parse(values, "the control dictionaries")
        return Pipeline(self.workspace, self.run, self.config.model_copy(update={"evaluate": evaluation}))

    @cached_property
    def model(self) -> Readable:
        """The model read, or both, loaded on first use."""
        first = load_model(self.config.model)
        return ModelPair(first, load_model(self.config.second_model)) if self.config.second_model else first

    @cached_property
    def hook(self) -> str:
        """The hook read, checked against the model."""
        hook = self.config.hook or default_hook(self.model)
        self._width(hook)
        return hook

    @cached_property
    def target(self) -> str | None:
        """What is reconstructed, if not what is read, checked against the model: one site, or as many as are read."""
        return self._target_of(self.hook)

    def _target_of(self, hook: str) -> str | None:
        target = self.config.target
        if target is None:
            return None
        n_read, n_written = (len(self._places(sites)) for sites in (hook, target))
        if n_read != n_written or self.config.second_model:
            raise UserError(
                f"A transcoder was asked for that reads {n_read} sites and writes {n_written}.",
                "one hook and one target of one model; for a cross-layer transcoder as many targets as hooks",
                "leave --target out for a crosscoder, or name as many targets as hooks.",
            )
        return target

    @cached_property
    def corpus(self) -> TokenCorpus:
        """The workspace's token corpus, made on first use."""
        config = self.config.text
        if config.n_ctx > self.model.n_ctx:
            raise UserError(
                f"Rows of {config.n_ctx} tokens are longer than the model reads ({self.model.n_ctx}).",
                f"at most {self.model.n_ctx}",
                f"use --context {self.model.n_ctx} or less.",
            )
        return build_corpus(
            load_documents(config.source), self.model.tokenizer, config, self._corpus_folder, text_id=self._text_id
        )

    @cached_property
    def _text_id(self) -> str:
        return text_id(self.config.text.source)

    @cached_property
    def _corpus_folder(self) -> Path:
        """One for each text, tokenizer and way to cut rows: runs that agree in these share it."""
        key = fingerprint([self.config.text.to_json(), self.model.tokenizer.id, self._text_id])
        return self.workspace.corpora / key

    def harvest(self) -> ActivationStore:
        """Activations of the training documents as shards on disk; later stages then train from these."""
        config = HarvestConfig(dtype=self.config.shard_dtype)
        corpus = self.corpus
        self.keep()
        return harvest(self.model, corpus, self.sites, config, self.folder / "activations")

    def train_config(self, choice: TrainingChoice | None = None, hook: str | None = None) -> TrainConfig:
        """The training configuration with everything filled in; of the run's own choice and hook unless others are
        given.

        Raises `UserError` for a choice that means nothing to its type, and for one that does not fit the sites.
        """
        choice = choice or self.config.training
        choice.check(has_target=self.config.target is not None)
        hook = hook or self.hook
        d_in, sites = self._width(hook), config_type(choice.kind).model_fields
        dictionary: dict[str, object] = {"kind": choice.kind, "d_in": d_in, "d_sae": round(d_in * choice.expansion)}
        if (target := self._target_of(hook)) is not None:
            if choice.kind in ONE_SITE or "d_out" not in sites:
                raise UserError(
                    f"The run has a target, and {choice.kind} dictionaries reconstruct their input.",
                    "a type that can be a transcoder",
                    "choose another --kind, or begin a run without --target.",
                )
            dictionary |= {"d_out": self._width(target)}
        if choice.kind == "clt":
            dictionary |= self._layers(hook)
            n = len(self._places(hook))
            dictionary["d_sae"] = n * max(1, round(d_in * choice.expansion / n))
        elif len(widths := self._widths(hook)) > 1:
            if self.target is not None:
                raise UserError(
                    f"{len(widths)} hooks and as many targets, and a dictionary of kind {choice.kind}.",
                    "a cross-layer transcoder, which alone reads and writes several sites",
                    "train with --kind clt, or begin a run with one hook and one target.",
                )
            if choice.kind in ONE_SITE or "parts" not in sites:
                raise UserError(
                    f"{len(widths)} sites are read, and {choice.kind} dictionaries are of one.",
                    "a type that can be a crosscoder",
                    "choose another --kind, or begin a run with one hook of one model.",
                )
            dictionary |= {"parts": widths}
        dictionary |= choice.fields(self.config.model.device)
        n_tokens = choice.n_tokens or self.n_training_tokens
        values = {
            "dictionary": dictionary,
            "n_tokens": n_tokens,
            "seed": choice.seed,
            "device": self.config.model.device,
            "frozen": choice.frozen,
            # Below some thousand steps more of them are worth more than larger ones (docs/lab-log.md).
            "batch_size": 2048 if n_tokens < 20_000_000 else 4096,
            "checkpoint_tokens": CHECKPOINT_TOKENS,
            # A tenth of the run, so that even a short one has time to revive what fell silent.
            "dead_after_tokens": min(10_000_000, max(50_000, n_tokens // 10)),
            **choice.settings,
        }
        return TrainConfig.parse(values, "the training options")

    def _layers(self, hook: str) -> dict[str, object]:
        """Widths of what a cross-layer transcoder reads and writes. Raises `UserError` for sites that are not in the
        model's order."""
        if self.target is None or len(self._places(hook)) < 2:
            raise UserError(
                "A cross-layer transcoder (clt) reads several sites and writes as many, and this run has others.",
                "two or more hooks joined by +, and as many targets",
                "begin the run with, for example, --hook blocks.0.hook_mlp_in+blocks.1.hook_mlp_in "
                "--target blocks.0.hook_mlp_out+blocks.1.hook_mlp_out.",
            )
        order = {point.name: number for number, point in enumerate(self.model.hooks())}
        for names in (hook, self.target):
            known = [order[place.hook] for place in self._places(names) if place.hook in order]
            if known != sorted(set(known)):
                raise UserError(
                    f"{names!r} is not in the order of the forward pass.",
                    "the first layer first, each site once",
                    "put the sites in order: a latent writes to its own layer and to those named after it.",
                )
        return {"layers_in": self._widths(hook), "layers_out": self._widths(self.target)}

    def _widths(self, hook: str) -> list[int]:
        return [place.width for place in self._places(hook)]

    def _width(self, hook: str) -> int:
        return sum(self.model.widths(hooks_of(hook)))

    def _places(self, hook: str) -> list[Place]:
        return self.model.places(hooks_of(hook))

    @property
    def sites(self) -> Sites:
        """Where the model is read."""
        return Sites.at(self.hook, self.target, mask=self.config.mask)

    @property
    def n_training_tokens(self) -> int:
        """Text tokens of the training split."""
        return int(self.corpus.text_mask(self.corpus.row_ranges["train"]).sum())

    def train(
        self, config: TrainConfig | None = None, *, observers: Sequence[Observer] = (), ranks: Ranks = ALONE
    ) -> TrainableDictionary:
        """The run's dictionary, trained on its shards where there are any, else live; by all processes of `ranks`
        together.

        With `config`, as that says: it takes the place of the run's own choice, here and in `run.json`. `observers` are
        called with every line of the log. Raises `UserError` like `training.train`, and for a configuration of other
        sites than the run's.
        """
        given, config = config, config or self.train_config()
        self._check(config, ranks)
        if given is not None:
            self._adopt(given)
        if ranks.is_main:  # shards are harvested by one, and read by all
            units = self.units()
            self.keep()
        ranks.wait()
        units = self.units()
        if not (ranks.is_alone or self._is_cached):
            units = DividedUnits(units)
        rows = spread(self.corpus.row_ranges["validation"], VALIDATION_ROWS)
        held_out = self._reader.read(rows) if len(rows) else None
        with reading_ahead(units, self.config.training.prefetch) as feed:
            source = ShuffledSource(feed, batch_size=config.batch_size, block_tokens=BLOCK_TOKENS, seed=config.seed)
            return train(
                source,
                config,
                self.folder / "dictionary",
                inputs=self.inputs(),
                validation=held_out,
                notes=self.notes_on(source),
                model_name=self.config.model.name,
                hook=self.hook,
                target=self.target or "",
                observers=observers,
                ranks=ranks,
            )

    def _check(self, config: TrainConfig, ranks: Ranks) -> None:
        """Raise `UserError` for what could not work, before anything is read or written."""
        is_transcoder = config.dictionary.to_json().get("d_out") is not None
        if is_transcoder != (self.target is not None):
            has, given = ("has a target", "an autoencoder") if self.target else ("has no target", "a transcoder")
            raise UserError(
                f"The run {has}, and the training configuration is of {given}.",
                "d_out with a target, and without one none",
                "set d_out in the configuration, or harvest with or without --target.",
            )
        check_together(config, ranks)
        if not ranks.is_alone and self.config.training.prefetch:
            raise UserError(
                "Reading ahead was asked for with several processes.", "one or the other", "leave --prefetch out."
            )

    def _adopt(self, config: TrainConfig) -> None:
        """Make `config` the run's choice. Raises `UserError` if it is not one that can be made at the run's sites."""
        chosen = TrainingChoice.of(config, prefetch=self.config.training.prefetch)
        here, given = (one.dictionary.to_json() for one in (self.train_config(chosen), config))
        if other := [name for name, value in given.items() if value != here[name]]:
            raise UserError(
                f"The training configuration has {', '.join(f'{name}={given[name]}' for name in other)}.",
                f"what the sites of the run give: {', '.join(f'{name}={here[name]}' for name in other)}",
                "correct the configuration, or begin a run at the sites that it is for.",
            )
        self.config = self.config.model_copy(update={"training": chosen})

    def inputs(self, hook: str | None = None) -> dict[str, str]:
        """What a dictionary of this run is made from, at `hook` or the run's own."""
        sites = self._sites | ({"hook": hook} if hook else {})
        found = {
            "model": self.model.id,
            "corpus": self.corpus.id,
            **sites,
            "mask": fingerprint(self.config.mask.to_json()),
        }
        if self._is_cached:  # another order than the model's own, and perhaps rounded numbers: another dictionary
            found["shards"] = self.config.shard_dtype
        return found

    def notes_on(self, source: ShuffledSource, reader: Reader | None = None) -> dict[str, Any]:
        """What is known of a stream before it is read: typical norms, and how well it is mixed."""
        row_sizes = self.corpus.text_mask(self.corpus.row_ranges["train"]).sum(-1)
        mixed = mixing(source.plan(MEASURED_BATCHES), self.corpus.n_ctx, row_sizes)
        return {"median_norms": (reader or self._reader).median_norms.tolist(), "mixing": mixed.to_json()}

    def import_dictionary(self, source: Path | str) -> Imported:
        """Take a dictionary of another project as this run's, in place of training one.

        Where the run names no hook, or no target of a transcoder, it takes those that the files name. Raises
        `UserError` for what `convert.import_dictionary` refuses, for a dictionary of other widths than the hooks', for
        a transcoder whose target nobody names, and for a target where the dictionary is an autoencoder.
        """
        found = import_dictionary(source, transcoder=self.config.target is not None)
        named = {"hook": self.config.hook or found.hook or None, "target": self.config.target or found.target or None}
        return Pipeline(self.workspace, self.run, self.config.model_copy(update=named))._import(found, str(source))

    def _import(self, found: Imported, source: str) -> Imported:
        self._check_sites(found.dictionary)
        corpus = self.corpus
        self.keep()
        inputs = {"model": self.model.id, "corpus": corpus.id, **self._sites}
        values = {"source": source, "format": found.format, "dictionary": found.dictionary.config.to_json()}
        to, config = self.folder / "dictionary", ImportConfig.parse(values)
        with stage(to, "dictionary", config, inputs) as staging:
            write_dictionary(
                found.dictionary,
                staging.folder,
                model_name=self.config.model.name,
                hook=self.hook,
                target=self.target or "",
            )
            staging.finish()
        return found

    def _check_sites(self, dictionary: TrainableDictionary) -> None:
        """Raise `UserError` unless `dictionary` reads what the hook gives and writes what the target takes."""
        if not dictionary.is_autoencoder and self.config.hook is None:  # the default is no place for a transcoder
            raise UserError(
                "The dictionary is a transcoder, and its files do not say which hook it reads.",
                "a hook and a target",
                "name them with --hook and --target.",
            )
        dictionary.check_width(self._width(self.hook), f"Hook {self.hook}")
        widths = tuple(self._widths(self.hook))
        if len(dictionary.parts_in) > 1 and widths != dictionary.parts_in:
            raise UserError(
                f"Hook {self.hook} has sites of widths {list(widths)}, and the dictionary reads "
                f"{list(dictionary.parts_in)}.",
                f"{len(dictionary.parts_in)} sites of these widths",
                "name them with --hook, joined by +; or a --second-model.",
            )
        if dictionary.is_autoencoder and self.target is not None:
            raise UserError(
                f"A target was named ({self.target}), and the dictionary reconstructs its own input.",
                "no target, or a transcoder",
                "leave --target out.",
            )
        if dictionary.is_autoencoder:
            return
        if self.target is None:
            raise UserError(
                "The dictionary is a transcoder, and its files do not say which hook it reconstructs.",
                "a target",
                "name it with --target.",
            )
        if (width := self._width(self.target)) != dictionary.d_out:
            raise UserError(
                f"Hook {self.target} has width {width}, and the dictionary writes width {dictionary.d_out}.",
                f"a target of width {dictionary.d_out}",
                "name the hook that the transcoder was trained to reconstruct, with --target.",
            )

    def export_dictionary(self, to: Path | str, layout: str) -> None:
        """Write the run's dictionary to the new folder `to` in another project's layout."""
        dictionary = load_dictionary(self.folder / "dictionary")
        names = {"model_name": self.config.model.name, "hook": self.hook, "target": self.target or ""}
        export_dictionary(dictionary, to, layout, **names)

    def index(self) -> FeatureIndex:
        """The feature index of the run's dictionary."""
        dictionary = self._dictionary()
        inputs = {"model": self.model.id, "dictionary": self.manifest("dictionary").id, "corpus": self.corpus.id}
        config, to = self.config.index, self.folder / "index"
        return build_index(self.model, dictionary, self.corpus, self.sites, config, to, inputs=inputs)

    def explain(self) -> ExplainSummary:
        """Explanations and scores of all features; a report that is there already takes them up."""
        summary = explain(self._open_index(), self.config.explain, self.workspace.database)
        if self.workspace.report.exists():
            write_report(self.workspace)
        return summary

    def evaluate(self) -> Evaluation:
        """The run's figures."""
        config = self.config.evaluate.model_copy(update={"mask": self.config.mask})
        index, dictionary = self._open_index(), self._dictionary()
        inputs = {"index": index.id, "dictionary": self.manifest("dictionary").id, "model": self.model.id}
        if index.manifest.inputs["dictionary"] != inputs["dictionary"]:
            raise UserError(
                f"The index of run {self.run!r} is of another dictionary than the run has now.",
                "an index of this dictionary",
                f"run `sparselex index {self.workspace.path.name} --run {self.run}` again.",
            )
        to = self.folder / "evaluation"
        return evaluate(self.model, dictionary, index, self.hook, config, to, inputs=inputs, target=self.target)

    def diff(self) -> ModelDiff:
        """What the run's crosscoder says of the difference of its two models; a report that is there already takes the
        figures up."""
        config = self.config.diff.model_copy(update={"mask": self.config.mask})
        if self.config.second_model is None:
            raise UserError(
                f"Run {self.run!r} reads one model, {self.config.model.name}.",
                "a run on two models",
                "harvest with --second-model under a --run of its own, and train there.",
            )
        inputs = self.inputs() | {"dictionary": self.manifest("dictionary").id}
        dictionary = self._dictionary()
        summary = diff(self.model, dictionary, self.corpus, self.hook, config, self.folder / "diff", inputs=inputs)
        if self.workspace.report.exists():
            write_report(self.workspace)
        return summary

    def manifest(self, kind: str) -> Manifest:
        """The manifest of one of the run's artifacts. Raises `UserError` if that stage has not been run."""
        return open_artifact(self.folder / kind, kind)

    def keep(self) -> None:
        """Write the configuration into the run's folder."""
        config = self.config
        card = RunCard(
            name=self.run,
            model=config.model.name,
            second_model=config.second_model.name if config.second_model else None,
            twin=config.model.twin,
            twin_of=config.twin_of,
            sites=self.sites,
            corpus=self._corpus_folder.name,
        )
        self.workspace.keep(card, config.to_json())

    def _dictionary(self) -> TrainableDictionary:
        """The run's dictionary, where the model is."""
        return load_dictionary(self.folder / "dictionary").to(self.config.model.device)

    def _open_index(self) -> FeatureIndex:
        return FeatureIndex(self.folder / "index", TokenCorpus(self.workspace.corpus_of(self.run)))

    def units(self) -> Units:
        """What training reads: the run's shards where there are any or are asked for, else the model."""
        if self._is_cached:
            return self.harvest().units()
        return LiveUnits(self._reader, ["train"])

    @property
    def _is_cached(self) -> bool:
        return self.config.cached or (self.folder / "activations").exists()

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.model, self.corpus, self.sites)

    @property
    def _sites(self) -> dict[str, str]:
        """Where the model is read and, for a transcoder, what is reconstructed."""
        return {"hook": self.hook} | ({"target": self.target} if self.target else {})
