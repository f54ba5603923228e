"""Those who explain by asking a language model, and those who judge by it. Nothing here loads them.

Other packages add theirs through entry points of the groups `sparselex.writer` and `sparselex.judge`.
"""

from typing import Any

from sparselex.base.registry import Registry

WRITERS: Registry[Any] = Registry(
    "writer",
    {
        "llm": "sparselex.explain.asking.writers.examples:Writer",
        "contrastive": "sparselex.explain.asking.writers.contrastive:Contrastive",
        "few-shot": "sparselex.explain.asking.writers.few_shot:FewShot",
        "tokens": "sparselex.explain.asking.writers.tokens:Tokens",
        "output": "sparselex.explain.asking.writers.output:Output",
        "both": "sparselex.explain.asking.writers.both:Both",
    },
)
"""Classes that are `sparselex.explain.asking.protocols.Writes`."""

JUDGES: Registry[Any] = Registry(
    "judge",
    {
        "detection": "sparselex.explain.asking.judges.detection:Detection",
        "fuzzing": "sparselex.explain.asking.judges.fuzzing:Fuzzing",
        "surprisal": "sparselex.explain.asking.judges.surprisal:Surprisal",
        "intervention": "sparselex.explain.asking.judges.intervention:Intervention",
        "intruder": "sparselex.explain.asking.judges.intruder:Intruder",
        "generation": "sparselex.explain.asking.judges.generation:Generation",
        "simulation": "sparselex.explain.asking.judges.simulation:Simulation",
        "examples": "sparselex.explain.asking.judges.examples:Examples",
        "embedding": "sparselex.explain.asking.judges.embedding:Embedding",
        "logits": "sparselex.explain.asking.judges.logits:Logits",
    },
)
"""Classes that are `sparselex.explain.asking.protocols.Judges`."""
