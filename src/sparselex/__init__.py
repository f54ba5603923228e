"""sparselex: a language model turned into a graded dictionary of its features."""

import importlib
from typing import Any

_PUBLIC = {
    "load_model": "sparselex.lm.load",
    "ModelConfig": "sparselex.lm.config",
    "SubjectModel": "sparselex.lm.subject",
    "Hook": "sparselex.base.sites",
    "Mask": "sparselex.base.sites",
    "Sites": "sparselex.base.sites",
    "load_documents": "sparselex.text.sources",
    "build_corpus": "sparselex.text.build",
    "CorpusConfig": "sparselex.text.config",
    "TokenCorpus": "sparselex.text.corpus",
    "harvest": "sparselex.activations.harvest",
    "HarvestConfig": "sparselex.activations.config",
    "ActivationStore": "sparselex.activations.store",
    "ShuffledSource": "sparselex.activations.shuffle",
    "SparseMixture": "sparselex.activations.synthetic",
    "MixtureConfig": "sparselex.activations.synthetic",
    "KnownFeatures": "sparselex.activations.known.source",
    "KnownConfig": "sparselex.activations.known.config",
    "train": "sparselex.training.train",
    "TrainConfig": "sparselex.training.config",
    "train_many": "sparselex.training.train",
    "Job": "sparselex.training.train",
    "BatchTopKConfig": "sparselex.dictionaries.types.batchtopk",
    "TopKConfig": "sparselex.dictionaries.types.topk",
    "ReLUConfig": "sparselex.dictionaries.types.relu",
    "load_dictionary": "sparselex.dictionaries.files",
    "import_dictionary": "sparselex.convert.doors",
    "export_dictionary": "sparselex.convert.doors",
    "build_index": "sparselex.features.build",
    "IndexConfig": "sparselex.features.config",
    "FeatureIndex": "sparselex.features.index",
    "Latents": "sparselex.causal.latents",
    "attach": "sparselex.causal.attached",
    "attributions": "sparselex.causal.attribution",
    "generate": "sparselex.causal.generate",
    "ExplainConfig": "sparselex.explain.config",
    "EvaluateConfig": "sparselex.evaluate.config",
    "EffectsConfig": "sparselex.evaluate.effects.config",
    "evaluate_task": "sparselex.recipes.tasks",
    "TaskOptions": "sparselex.recipes.tasks",
    "TaskResult": "sparselex.evaluate.supervised.records",
    "trace_prompt": "sparselex.recipes.graphs",
    "GraphOptions": "sparselex.recipes.graphs",
    "rank_types": "sparselex.evaluate.synthetic.synthetic",
    "SyntheticConfig": "sparselex.evaluate.synthetic.config",
    "split_latents": "sparselex.evaluate.supervised.splitting",
    "DiffConfig": "sparselex.atlas.config",
    "MapConfig": "sparselex.atlas.config",
    "CompareConfig": "sparselex.atlas.config",
    "analyse": "sparselex.recipes.analysing",
    "UniversalityConfig": "sparselex.atlas.universality.config",
    "SplittingConfig": "sparselex.atlas.splitting.config",
    "RelativesConfig": "sparselex.atlas.relatives.config",
    "compare_all": "sparselex.recipes.comparing",
    "compare_with": "sparselex.recipes.comparing",
    "pair_runs": "sparselex.recipes.pairs",
    "PairOptions": "sparselex.recipes.pairs",
    "run_of_directions": "sparselex.recipes.directions",
    "find": "sparselex.recipes.finding",
    "FindOptions": "sparselex.recipes.finding",
    "ProxiesConfig": "sparselex.atlas.proxies.config",
    "report": "sparselex.evaluate.report",
    "Run": "sparselex.recipes.run",
    "RunConfig": "sparselex.recipes.config",
    "Stage": "sparselex.recipes.stage",
    "new_run": "sparselex.recipes.config",
    "twin_of": "sparselex.recipes.config",
    "serve": "sparselex.server.app",
    "feature": "sparselex.server.notebook",
    "import_explanations": "sparselex.recipes.explanations.taking",
    "export_explanations": "sparselex.recipes.explanations.writing",
    "Workspace": "sparselex.base.workspace",
    "Figure": "sparselex.base.figures",
    "UserError": "sparselex.base.errors",
}
"""Public name to the file that defines it; a file is loaded when one of its names is first used.

Type checkers read the same from `__init__.pyi`, which `python docs/generate.py` writes.

The functions `explain` and `evaluate` bear their rooms' names and are not here: `Run.do` takes the stages of these
names, and the functions are imported from `sparselex.explain.explain` and `sparselex.evaluate.evaluate`.
"""

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sparselex' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
