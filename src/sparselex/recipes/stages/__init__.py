"""The verbs of a run, one file each: what a verb needs, what a person may choose about it, what it makes. Nothing here
loads PyTorch."""

from typing import TYPE_CHECKING

from sparselex.base.registry import Registry

if TYPE_CHECKING:  # a list of names is to cost no more than that
    from sparselex.recipes.stage import Stage


STAGES: "Registry[type[Stage]]" = Registry(
    "stage",
    {
        "harvest": "sparselex.recipes.stages.harvest:Harvest",
        "train": "sparselex.recipes.stages.train:Train",
        "sweep": "sparselex.recipes.stages.sweep:Sweep",
        "import": "sparselex.recipes.stages.import_:Import",
        "index": "sparselex.recipes.stages.index:Index",
        "explain": "sparselex.recipes.stages.explain:Explain",
        "explain-llm": "sparselex.recipes.stages.ask:Ask",
        "embed": "sparselex.recipes.stages.embed:Embed",
        "evaluate": "sparselex.recipes.stages.evaluate:Evaluate",
        "evaluate probes": "sparselex.recipes.stages.probes:Probes",
        "evaluate model-features": "sparselex.recipes.stages.model_features:FeaturesOfModel",
        "effects": "sparselex.recipes.stages.effects:Effects",
        "analyse census": "sparselex.recipes.stages.census:TakeCensus",
        "analyse neurons": "sparselex.recipes.stages.neurons:AgainstNeurons",
        "analyse proxies": "sparselex.recipes.stages.proxies:Proxies",
        "analyse universality": "sparselex.recipes.stages.universality:FindUniversal",
        "analyse splitting": "sparselex.recipes.stages.splitting:FindSplits",
        "analyse relatives": "sparselex.recipes.stages.relatives:FindRelatives",
        "analyse automata": "sparselex.recipes.stages.automata:FindAutomata",
        "analyse pinned": "sparselex.recipes.stages.pinned:SamplePinned",
        "analyse logits": "sparselex.recipes.stages.logits:AnswerLogits",
        "analyse intervals": "sparselex.recipes.stages.intervals:SampleIntervals",
        "controls": "sparselex.recipes.stages.controls:Controls",
        "diff": "sparselex.recipes.stages.diff:Diff",
        "map": "sparselex.recipes.stages.map:Map",
        "manifolds": "sparselex.recipes.stages.manifolds:FindManifolds",
        "export": "sparselex.recipes.stages.export:Export",
    },
)
"""All stages by verb, in the order in which they are taken: from here come the verbs of the command line, what `Run.do`
takes, what a page says is missing, and the list in the docs."""
