"""A run with its model, corpus and artifacts, each opened when it is first used."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.masks import within_norm
from sparselex.activations.mixing import mixing
from sparselex.activations.shuffle import ShuffledSource
from sparselex.activations.source import Units
from sparselex.activations.store import ActivationStore
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint, remove
from sparselex.base.registry import found
from sparselex.base.runs import RunCard
from sparselex.base.sites import Hook, Sites, hooks_of
from sparselex.base.staging import guarded
from sparselex.causal.edits import Edits
from sparselex.causal.latents import Latents
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.features.index import FeatureIndex
from sparselex.lm.load import float64_device, load_model
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import Readable, SubjectModel
from sparselex.recipes.edits_of import EditsOf
from sparselex.recipes.folder import TICKETS, RunFolder, stage_cards
from sparselex.recipes.pinned_records import PREFIX, At, Pinned
from sparselex.recipes.pinning import pinned
from sparselex.recipes.prompt_records import TextLatents
from sparselex.recipes.prompts import Prompts
from sparselex.recipes.stage import Stage
from sparselex.text.build import build_corpus, text_of
from sparselex.text.corpus import TokenCorpus
from sparselex.text.identity import text_id, text_stamp
from sparselex.text.sources import load_documents

BLOCK_TOKENS = 131_072
"""Tokens mixed at a time: about a thousand rows, so a batch of 4,096 holds few tokens of one row."""

MEASURED_BATCHES = 16
"""Batches by which the mixing is judged: tens of millions of pairs of tokens."""


class _Text(NamedTuple):
    """The text that a run reads."""

    id: str
    """Its identity."""

    stamp: str | None
    """Its stamp; None where the text itself was not looked at."""


class Run(RunFolder):
    """One dictionary at one place of one model, in one workspace.

    `do` takes a stage; `model`, `corpus`, `dictionary` and `index` open what is there. What the run reads, and the
    options that its stages took, are kept in `runs/<name>/run.json` once model and text are known to be good.
    """

    def do(
        self, stage: Stage | str, /, *, more: dict[str, Any] | None = None, replace: bool = False, **options: Any
    ) -> Any:
        """Take a stage, by its object or by its verb and options; without options as the run kept it.

        Gives what the stage gives: a dictionary, an index, a summary. Work that is done is not done again, and what is
        done is recognised without loading the model. `more` goes to the stage's work as it is. Raises `UserError` for
        an unknown verb or option, for one that names something else to be read than the run reads, where an artifact
        that the stage needs is missing, where a dictionary or something on which other artifacts stand would be
        replaced without `replace`, and whatever the stage itself refuses.
        """
        if isinstance(stage, str):
            stage = self.stage(stage, **options)
        elif options:
            raise UserError(
                f"{stage.verb} was given as an object, and {', '.join(options)} beside it.",
                "an object that has all its options, or a verb and options",
                f"put {', '.join(options)} into {type(stage).__name__}(...).",
            )
        self.check_reads(stage)
        if not self.is_done(stage):
            self.check_needs(stage)
            with self.workspace.as_it_was_if_refused(self.name):
                if replace and not stage.needs:
                    self._take_away()
                else:
                    self.check_still_reads()
                with nullcontext() if replace else guarded(self.check_replaced):
                    found(type(stage).work)(self, stage, **(more or {}))
            self._keep_again(stage)
            # As the run keeps it: a whole configuration from a file, for one, is kept as the choice that it makes.
            if stage.is_whole(self):
                self.note_done(self.stage(stage.verb) if stage.verb in self.config.stages else stage)
        gives = type(stage).gives
        return found(gives)(self) if gives else (self.manifest(stage.makes) if stage.makes else None)

    def _keep_again(self, stage: Stage) -> None:
        """Keep the options by which a stage was done where others are written by now: a process that was begun beside
        this one, and refused while this one was at work, has put back those that it had found."""
        ours, there = self.config.to_json()["stages"].get(stage.verb), self.workspace.settings(self.name)
        stages = there.get("stages") or {}
        if stage.verb not in self.kept_by_this or stages.get(stage.verb) == ours:
            return
        stages = {**stages, stage.verb: ours}
        if stage.needs:
            self.workspace.keep(self.workspace.card(self.name), there | {"stages": stages})
        else:  # it decides what the run reads, too
            self.config = self.config.with_stages(stages)
            self.keep()

    def _take_away(self) -> None:
        """Remove what was made from something else than the run reads now, once that is known to be good."""
        if self.reads_otherwise():
            _ = self.sites, self.corpus  # what cannot be read is refused here
            for name in (*self.workspace.artifacts(self.name), TICKETS):
                remove(self.folder / name)

    @cached_property
    def model(self) -> Readable:
        """The model read, or both. Raises `UserError` for a run that was made elsewhere."""
        if self.elsewhere:
            raise self._missing("model")
        first = load_model(self.config.model)
        return ModelPair(first, load_model(self.config.second_model)) if self.config.second_model else first

    @property
    def subject(self) -> SubjectModel:
        """The model of a run that reads one. Raises `UserError` for a run of two, and for one made elsewhere."""
        if not isinstance(self.model, SubjectModel):
            raise UserError(
                f"Run {self.name!r} reads two models side by side.", "a run of one model", "name another run."
            )
        return self.model

    @cached_property
    def sites(self) -> Sites:
        """Where the model is read, what is reconstructed, and what is left out, checked against the model.

        Raises `UserError` for places that the model has not, and for a target that does not go with what is read.
        """
        hook = self.config.hook
        return self.sites_at(hooks_of(hook) if hook else (default_hook(self.model),))

    def sites_at(self, hooks: Sequence[Hook]) -> Sites:
        """The run's sites with other hooks to be read. Raises like `sites`."""
        target = hooks_of(self.config.target) if self.config.target else ()
        self.model.places([*hooks, *target])
        if target and (len(hooks) != len(target) or self.config.second_model):
            raise UserError(
                f"A transcoder was asked for that reads {len(hooks)} sites and writes {len(target)}"
                + (" of two models." if self.config.second_model else "."),
                "one hook and one target of one model; for a cross-layer transcoder as many targets as hooks",
                "leave --target out for a crosscoder, or name as many targets as hooks.",
            )
        return Sites(hooks=tuple(hooks), target=target, mask=self.config.mask)

    def read_at(self, hook: str | None, target: str | None) -> None:
        """Read the model there from now on; None as in the configuration of a run."""
        self.config = self.config.with_reads({"hook": hook, "target": target})
        for opened in ("sites", "reader"):
            self.__dict__.pop(opened, None)

    @cached_property
    def corpus(self) -> TokenCorpus:
        """The token corpus, made on first use. Raises `UserError` where its rows are longer than the model reads."""
        text = self.config.text
        if text.n_ctx > self.model.n_ctx:
            raise UserError(
                f"Rows of {text.n_ctx} tokens are longer than the model reads ({self.model.n_ctx}).",
                f"at most {self.model.n_ctx}",
                f"use --context {self.model.n_ctx} or less.",
            )
        documents = load_documents(text.source, text_field=text.text_field, documents=text.documents)
        return build_corpus(documents, self.model.tokenizer, text, self.corpus_folder, text_id=self._text.id)

    @property
    def corpus_folder(self) -> Path:
        """Where the token corpus is, or will be: one for each text, tokenizer and way to cut rows, shared by the runs
        that agree in these."""
        key = fingerprint([self.config.text.to_json(), self.model.tokenizer.id, self._text.id])
        return self.workspace.corpora / key

    @cached_property
    def reader(self) -> Reader:
        """What reads the model over the corpus at the run's sites."""
        return Reader(self.model, self.corpus, self.sites)

    @property
    def dictionary(self) -> TrainableDictionary:
        """The run's dictionary, where the model is or beside it. Raises `UserError` if there is none."""
        self.manifest("dictionary")
        return load_dictionary(self.folder / "dictionary").to(float64_device(self.config.model.device))

    @cached_property
    def prompts(self) -> Prompts:
        """The run's model and dictionary for text that a person types, with BOS by the rule of its corpus.

        Raises `UserError` for a run without a dictionary, and for one that reads two models.
        """
        latents = Latents.of(self.dictionary, self.subject, self.sites)
        return Prompts(self.subject, latents, self.config.text.bos, self.within, self._activations)

    def within(self, values: Float[Tensor, "n d_in"]) -> Bool[Tensor, " n"]:
        """Whether the norms of what is read are near those of other tokens, by the run's mask."""
        places = self.model.places(self.sites.hooks)
        norms = torch.stack([values[:, place.columns].norm(dim=-1) for place in places], dim=-1)
        # As they were when the dictionary was trained; to measure them again takes a pass over thousands of tokens.
        noted = self.manifest("dictionary").notes.get("median_norms")
        medians = self.reader.median_norms if noted is None else torch.tensor(noted)
        return torch.from_numpy(within_norm(norms, medians[: len(places)], self.sites.mask))

    def _activations(self, latent: int) -> Float[Tensor, " n"]:
        """Activations of a latent at the counted tokens of the training split, those where it is active first. Raises
        `UserError` where there is no index of every activation."""
        self.manifest("index")  # missing, it says which command makes it
        index = self.index
        index.check_whole("what a latent is at other tokens")
        values = index.split_column(latent, "train")[1]
        found = torch.zeros(index.n_counted["train"])
        found[: len(values)] = torch.tensor(values)
        return found

    @property
    def edits(self) -> EditsOf:
        """Edits of the run's latents: `run.edits.steer(17, by=4.0)`. Raises like `prompts`."""
        return self.prompts.edits

    def tokens(self, text: str) -> Int[Tensor, "1 ctx"]:
        """A text as the run's corpus has it, BOS first where its rows have one. Raises like `prompts`, and for a text
        without tokens or longer than the model reads."""
        return self.prompts.tokens(text)

    def latents(self, text: str, n: int = 5) -> TextLatents:
        """The `n` most active latents at each token of a text; printed, a line for each token. Raises like `tokens`."""
        return self.prompts.top(text, n)

    def generate(
        self, text: str, n_new: int = 40, *, edits: Edits = (), temperature: float = 0.0, seed: int = 0
    ) -> str:
        """What the model writes behind a text, under edits. Raises like `tokens` and `causal.generate.generate`."""
        return self.prompts.generate(text, n_new, edits=edits, temperature=temperature, seed=seed)

    def pinned(
        self,
        latent: int,
        *,
        value: float | None = None,
        at: At = "all",
        prompt: str = PREFIX,
        n_samples: int = 3,
        n_new: int = 40,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Pinned:
        """What the model writes while a latent is held at a value, as `sparselex.recipes.pinning.pinned`."""
        self.manifest("index")  # missing, it says which command makes it
        how: dict[str, Any] = {"value": value, "at": at, "prompt": prompt, "n_samples": n_samples}
        options: dict[str, Any] = {"n_new": n_new, "temperature": temperature, "top_p": top_p, "seed": seed}
        return pinned(self.prompts, self.index, latent, **how, **options)

    @property
    def index(self) -> FeatureIndex:
        """The feature index of the run's dictionary. Raises `UserError` if there is none, or if it is of another
        dictionary."""
        index = FeatureIndex(self.folder / "index", TokenCorpus(self.workspace.corpus_of(self.name)))
        if not self.elsewhere and index.manifest.inputs["dictionary"] != self.manifest("dictionary").id:
            raise UserError(
                f"The index of run {self.name!r} is of another dictionary than the run has now.",
                "an index of this dictionary",
                f"run `sparselex index {self.workspace.typed} --run {self.name}` again.",
            )
        return index

    @property
    def is_cached(self) -> bool:
        """Whether activations are kept on disk as shards."""
        return self.has("activations")

    def units(self) -> Units:
        """What training reads: the run's shards where there are any, else the model."""
        if self.is_cached:
            self.do("harvest")
            return ActivationStore(self.folder / "activations").units()
        return LiveUnits(self.reader, ["train"])

    def inputs(self, hooks: Sequence[Hook] | None = None) -> dict[str, str]:
        """What a dictionary of this run is made from, at `hooks` or the run's own."""
        sites = self.sites if hooks is None else self.sites_at(hooks)
        made_from = {
            "model": self.model.id,
            "corpus": self.corpus.id,
            **sites.names(),
            "mask": fingerprint(sites.mask.to_json()),
        }
        if self.is_cached:  # another order than the model's own, and perhaps rounded numbers: another dictionary
            made_from["shards"] = ActivationStore(self.folder / "activations").dtype
        return made_from

    def notes_on(self, source: ShuffledSource, reader: Reader | None = None) -> dict[str, Any]:
        """What is known of a stream before it is read: typical norms, and how well it is mixed."""
        row_sizes = self.corpus.text_mask(self.corpus.row_ranges["train"]).sum(-1)
        mixed = mixing(source.plan(MEASURED_BATCHES), self.corpus.n_ctx, row_sizes)
        return {"median_norms": (reader or self.reader).median_norms.tolist(), "mixing": mixed.to_json()}

    @property
    def n_training_tokens(self) -> int:
        """Text tokens of the training split."""
        return int(self.corpus.text_mask(self.corpus.row_ranges["train"]).sum())

    def keep(self, stage: Stage | None = None) -> None:
        """Write what the run is and reads into its folder, with the options of `stage`."""
        if stage is not None:
            self.config = self.config.with_stage(stage.verb, stage.kept())
        config = self.config
        card = RunCard(
            name=self.name,
            model=config.model.name,
            second_model=config.second_model.name if config.second_model else None,
            twin=config.model.twin,
            twin_of=config.twin_of,
            sites=self.sites,
            corpus=self.corpus_folder.name,
            stages=stage_cards(),
        )
        self.workspace.keep(card, config.to_json())
        if stage is not None:
            self.kept_by_this.add(stage.verb)
        if self._text.stamp is not None:
            self.note_text(self._text.stamp)

    @cached_property
    def _text(self) -> "_Text":
        """Of a run that goes on, the text in the corpus that its card names, if that is cut as the run wants it."""
        text, kept = self.config.text, None
        if self.goes_on and self._has_corpus():
            kept = text_of(self.workspace.corpus_of(self.name), self.model.tokenizer, text)
        if kept is not None:
            return _Text(kept, None)
        stamp = text_stamp(text.source)  # before it is read: what is written meanwhile is then noticed
        return _Text(text_id(text.source), stamp)


def default_hook(model: Readable) -> Hook:
    """The MLP's hidden layer of a one-layer model, as in the 2023 paper; else the residual stream after the middle
    layer."""
    if model.n_layers == 1:
        return Hook("blocks.0.mlp.hook_post")
    return Hook(f"blocks.{model.n_layers // 2}.hook_resid_post")
