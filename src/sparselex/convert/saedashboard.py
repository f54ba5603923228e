"""SAEDashboard's output: `batch-<n>.json` files of features, with `skipped_indexes.json` and `run_settings.json`.

The group of largest activations has -1 for its lower end and its share; ranges follow from the largest down. Lists of
tokens lack the BOS, and the index of the token that an example was chosen for counts without it.
"""

from collections.abc import Iterable
from typing import Any

from sparselex.convert.dashboard import Dashboard, DashboardExample, DashboardSet

BATCH = "batch-{}.json"
MOST_LISTED = 10
"""Tokens promoted and suppressed that its pages list."""


def batch_of(dashboards: Iterable[Dashboard], of: DashboardSet) -> dict[str, Any]:
    """One batch file."""
    return {
        "model_id": of.model,
        "layer": of.layer,
        "sae_set": of.name,
        "sae_id_suffix": None,
        "features": [_feature(one, of) for one in dashboards],
    }


def _feature(one: Dashboard, of: DashboardSet) -> dict[str, Any]:
    return {
        "feature_index": one.latent,
        **statistics_of(one, of),
        "activations": [_activation(example) for example in one.examples],
    }


def statistics_of(one: Dashboard, of: DashboardSet) -> dict[str, Any]:
    """What this project and Neuronpedia both call by these names."""
    return {
        "neuron_alignment_indices": one.aligned.places,
        "neuron_alignment_values": one.aligned.values,
        "neuron_alignment_l1": one.aligned.shares,
        "correlated_neurons_indices": [],
        "correlated_neurons_l1": [],
        "correlated_neurons_pearson": [],
        "correlated_features_indices": [],
        "correlated_features_l1": [],
        "correlated_features_pearson": [],
        "neg_str": one.lowered[0][:MOST_LISTED],
        "neg_values": one.lowered[1][:MOST_LISTED],
        "pos_str": one.raised[0][:MOST_LISTED],
        "pos_values": one.raised[1][:MOST_LISTED],
        "frac_nonzero": one.density,
        "freq_hist_data_bar_values": one.activations.centres,
        "freq_hist_data_bar_heights": one.activations.counts,
        "logits_hist_data_bar_heights": one.logits.counts,
        "logits_hist_data_bar_values": one.logits.centres,
        "n_prompts_total": of.n_prompts,
        "n_tokens_in_prompt": of.n_prompt_tokens,
        "dataset": of.dataset,
        "decoder_weights_dist": [],
    }


def _activation(example: DashboardExample) -> dict[str, Any]:
    return {
        "bin_min": example.low,
        "bin_max": example.high,
        "bin_contains": example.share,
        "tokens": example.tokens,
        "values": example.values,
        "qualifying_token_index": example.place,
        "dfa_values": [],
        "dfa_maxValue": 0,
        "dfa_targetIndex": -1,
    }


def skipped_of(of: DashboardSet) -> dict[str, Any]:
    """The list of features that are in no batch: none, for what is never active is told as well."""
    return {
        "model_id": of.model,
        "layer": str(of.layer),
        "sae_set": of.name,
        "log_sparsity": None,
        "skipped_indexes": [],
    }


def settings_of(of: DashboardSet, per_batch: int) -> dict[str, Any]:
    """The settings of the run, by the project's names, as far as there are any."""
    return {
        "sae_set": of.name,
        "sae_path": of.hook,
        "np_set_name": of.name,
        "model_id": of.model,
        "layer": of.layer,
        "huggingface_dataset_path": of.dataset,
        "n_prompts_total": of.n_prompts,
        "n_tokens_in_prompt": of.n_prompt_tokens,
        "n_features_at_a_time": per_batch,
        "made_by": "sparselex",
    }
