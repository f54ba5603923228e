"""Neuronpedia's layout for bulk import and export: `<model>/<layer>-<set>/` with a row of JSON for the release, the
model, the set and the source, and compressed lines for features, activations and explanations."""

import hashlib
from collections.abc import Iterator
from typing import Any

from sparselex.convert.dashboard import Dashboard, DashboardExample, DashboardExplanation, DashboardSet
from sparselex.convert.saedashboard import statistics_of

FEATURES, ACTIVATIONS, EXPLANATIONS = PARTS = ("features", "activations", "explanations")
BATCH = "{}/batch-{}.jsonl.gz"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 25


def heads_of(of: DashboardSet, creator: str, n_layers: int, notes: str) -> dict[str, dict[str, Any]]:
    """The rows of release, model, set and source, by the names of their files. What only the site's maintainers can say
    is null."""
    seen = {"creatorId": creator or None, "visibility": "UNLISTED", "createdAt": of.made_at}
    return {
        "release": seen
        | {
            "name": of.name,
            "description": notes,
            "descriptionShort": f"{of.name}: {of.d_sae} features of {of.model}",
            "creatorName": creator,
            "creatorNameShort": creator or None,
            "creatorEmail": None,
            "isNewUi": True,
            "featured": False,
            "urls": [],
            "defaultSourceSetName": of.name,
            "defaultSourceId": of.source,
            "defaultUmapSourceIds": [],
        },
        "model": _model(of, n_layers) | seen,
        "sourceset": seen
        | {
            "modelId": of.model,
            "name": of.name,
            "hasDashboards": True,
            "description": notes,
            "type": of.hook,
            "creatorName": creator,
            "urls": [],
            "creatorEmail": None,
            "releaseName": of.name,
            "defaultOfModelId": None,
            "defaultRange": 1,
            "defaultShowBreaks": True,
            "showDfa": False,
            "showCorrelated": False,
            "showHeadAttribution": False,
            "showUmap": False,
        },
        "source": _source(of, notes) | seen,
    }


def _model(of: DashboardSet, n_layers: int) -> dict[str, Any]:
    return {
        "id": of.model,
        "instruct": False,
        "displayNameShort": of.model,
        "displayName": of.model,
        "tlensId": None,
        "dimension": of.d_model,
        "defaultSourceSetName": None,
        "defaultSourceId": None,
        "inferenceEnabled": False,
        "layers": n_layers,
        "neuronsPerLayer": 0,
        "owner": "",
        "updatedAt": of.made_at,
        "website": None,
    }


def _source(of: DashboardSet, notes: str) -> dict[str, Any]:
    absent = ("saelensConfig", "saelensRelease", "saelensSaeId", "hfRepoId", "hfFolderId", "defaultOfModelId")
    return {
        "id": of.source,
        "modelId": of.model,
        "setName": of.name,
        "hasDashboards": True,
        "inferenceEnabled": False,
        "inferenceHosts": [],
        **dict.fromkeys(absent),
        "hasUmap": False,
        "hasUmapLogSparsity": False,
        "hasUmapClusters": False,
        "num_prompts": of.n_prompts,
        "num_tokens_in_prompt": of.n_prompt_tokens,
        "dataset": of.dataset,
        "notes": notes,
    }


def feature_of(one: Dashboard, of: DashboardSet, creator: str) -> dict[str, Any]:
    """The row of a feature; its number is text, as the site keeps it."""
    return {
        **_where(one, of),
        "creatorId": creator or None,
        "createdAt": of.made_at,
        "maxActApprox": one.largest,
        "hasVector": False,
        "vector": [],
        "vectorLabel": None,
        "vectorDefaultSteerStrength": None,
        "hookName": of.hook,
        "topkCosSimIndices": [],
        "topkCosSimValues": [],
        **statistics_of(one, of),
        "sourceSetName": of.name,
    }


def activations_of(one: Dashboard, of: DashboardSet, creator: str) -> Iterator[dict[str, Any]]:
    """A row for each example."""
    for number, example in enumerate(one.examples):
        yield _activation(one, number, example, of, creator)


def _activation(
    one: Dashboard, number: int, example: DashboardExample, of: DashboardSet, creator: str
) -> dict[str, Any]:
    largest = max(example.values, key=abs, default=0.0)
    return {
        "id": _id("activation", of.model, of.source, one.latent, number),
        "tokens": example.tokens,
        **_where(one, of),
        "maxValue": largest,
        "maxValueTokenIndex": example.values.index(largest) if example.values else 0,
        "minValue": min(example.values, default=0.0),
        "values": example.values,
        "creatorId": creator or None,
        "dataSource": of.dataset,
        "dataIndex": None,
        "dfaValues": [],
        "dfaTargetIndex": None,
        "dfaMaxValue": None,
        "createdAt": of.made_at,
        "lossValues": [],
        "logitContributions": None,
        "binMin": example.low,
        "binMax": example.high,
        "binContains": example.share,
        "qualifyingTokenIndex": example.place,
    }


def explanations_of(one: Dashboard, of: DashboardSet, creator: str) -> Iterator[dict[str, Any]]:
    """A row for each explanation. `scoreV1` and `scoreV2` are scores of the site's own, so ours stand in the notes."""
    for number, said in enumerate(one.explanations):
        yield explanation_row(said, of.model, of.source, one.latent, of.made_at, creator, number)


def explanation_row(
    said: DashboardExplanation, model: str, source: str, latent: int, made_at: str, creator: str = "", number: int = 0
) -> dict[str, Any]:
    """The row of an explanation, the `number`-th of its latent."""
    return {
        "id": _id("explanation", model, source, latent, number),
        "modelId": model,
        "layer": source,
        "index": str(latent),
        **_said(said, creator),
        "createdAt": made_at,
        "updatedAt": made_at,
    }


def _said(said: DashboardExplanation, creator: str) -> dict[str, Any]:
    return {
        "description": said.text,
        "authorId": creator or None,
        "triggeredByUserId": creator or None,
        "notes": said.notes or None,
        "typeName": said.author,
        "explanationModelName": None,
        "scoreV1": None,
        "scoreV2": None,
        "umap_x": 0,
        "umap_y": 0,
        "umap_cluster": 0,
        "umap_log_feature_sparsity": 0,
    }


def _where(one: Dashboard, of: DashboardSet) -> dict[str, str]:
    return {"modelId": of.model, "layer": of.source, "index": str(one.latent)}


def _id(*parts: str | int) -> str:
    """An id of the site's form, `c` and 24 digits to the base 36, the same for the same thing whenever it is made."""
    number = int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest(), "big")
    digits = []
    for _ in range(_ID_LENGTH - 1):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "c" + "".join(digits)
