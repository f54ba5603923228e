"""Explainers and scorers by name. Nothing here loads them.

Other packages add theirs through entry points of the groups `sparselex.explainer` and `sparselex.scorer`.
"""

from typing import Any

from sparselex.base.registry import Registry

EXPLAINERS: Registry[Any] = Registry("explainer", {"rule": "sparselex.explain.explainers.rule:RuleExplainer"})
"""Classes that are `sparselex.explain.protocols.Explainer`."""

SCORERS: Registry[Any] = Registry("scorer", {"exact": "sparselex.explain.scorers.exact:ExactScorer"})
"""Classes that are `sparselex.explain.protocols.Scorer`."""

MADE_BY = "explainer"
"""Among the inputs of explanations: who made them."""


def made_by(explainer: str) -> dict[str, str]:
    """That input for an explainer that tells a `version`; nothing for others."""
    version = getattr(EXPLAINERS.get(explainer), "version", "")
    return {MADE_BY: f"{explainer} {version}"} if version and isinstance(version, str) else {}
