"""Shared by all rooms: where the optional real data lies, and one thread for tensor work."""

import os
from pathlib import Path

import pytest
import torch

from sparselex.base.workspace import Workspace
from sparselex.features.index import FeatureIndex
from sparselex.recipes.config import twin_of
from sparselex.text.corpus import TokenCorpus
from tests.support.small import build_all, small_config, write_documents

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Every test begins with one thread: a library that another test has loaded may have set another number, and with
    two the last bits of what is trained are not the same every time."""
    torch.set_num_threads(1)


SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


LONGEST = (
    "cli/test_stops.py",
    "recipes/test_finish.py",
    "recipes/test_divided.py",
    "cli/test_kills.py",
    "lm/test_smollm2.py",
    "recipes/test_sites.py",
    "recipes/test_run.py",
    "server/test_pages.py",
    "training/test_training.py",
)
"""Files that take longest, which come first: else one worker would sit idle while the other is at the last of them."""


SELDOM = (
    "recipes/test_splitting.py::test_the_widths_are_laid_out_on_one_map",
    "cli/test_odd.py::test_files_of_a_workspace",
    "test_docs.py::test_python_blocks_run[docs/autointerp.md]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[abstopk-{'k': 4}]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[matryoshka-{'prefixes': (0.9,)}]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[panneal-{'start_share': 0.7}]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[panneal-{'n_updates': 2}]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[panneal-{'p_end': 0.9}]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[panneal-{'warmup_share': 0.9}]",
    "training/test_stops.py::test_each_option_of_a_type_changes_something[gated-{'warmup_share': 0.9}]",
    "training/test_finish.py::test_without_reconstruction_the_model_loses_less_and_l0_stays[downstream]",
    "training/test_finish.py::test_attributions_become_fewer_and_smaller_and_l0_stays",
    "training/test_sites.py::test_a_crosscoder_finds_shared_and_one_sided_features[relu]",
    "evaluate/probes/test_ravel.py::test_what_a_real_model_knows_is_exchanged_with_the_city",
    "evaluate/test_toys.py::test_with_few_latents_and_no_penalty_both_attributes_are_found",
    "evaluate/occlusion/test_occlude.py::test_sweeps_of_another_result_are_not_shown",
    "cli/test_stops.py::test_stopped_anywhere_a_verb_goes_on[full]",
    "cli/test_controls.py::test_killed_in_the_middle_the_same_command_ends_as_if_nothing_had_been",
    "cli/test_occlusion.py::test_the_sweep_is_printed_and_stands_in_the_json_where_it_was_asked_for",
    "cli/test_kills.py::test_killed_when[a shard is written]",
    "recipes/test_sites.py::test_a_crosscoder_of_two_models_goes_through_every_stage",
    "recipes/test_sites.py::test_a_cross_layer_transcoder_goes_through_every_stage",
    "recipes/test_control_runs.py::test_other_directions_need_to_be_asked_for",
    "recipes/test_demo.py::test_what_is_there_is_not_said_to_be_made",
    "server/test_asking.py::test_a_second_time_costs_nothing_and_rules_are_judged_as_they_stand",
    "server/test_live.py::test_a_reader_who_asks_for_a_hundred_steerings_stops_nobody",
    "lm/test_gguf.py::test_two_processes_on_a_fresh_cache",
    "lm/test_smollm2.py::test_half_precision_is_near_and_may_be_the_files_own",
    "lm/test_smollm2.py::test_an_architecture_that_transformers_does_not_read_is_one_message",
    "training/test_sites.py::test_a_skip_connection_takes_up_what_is_linear",
    "evaluate/test_toys.py::test_a_narrow_dictionary_hedges_the_more_the_more_a_child_follows_its_parent",
    "evaluate/test_toys.py::test_a_wide_dictionary_loses_parents_to_their_children_and_strangers_take_less",
    "features/test_resumed.py::test_the_command_line_under_torchrun",
    "server/test_beside.py::test_pages_are_there_while_the_demo_goes_on_and_end_with_it[2]",
    "training/test_together.py::test_the_command_line_under_torchrun[options1-divided1]",
    "training/test_together.py::test_the_command_line_under_torchrun[options2-divided2]",
    "training/test_together.py::test_the_command_line_under_torchrun[options3-divided3]",
    "recipes/test_sites.py::test_a_crosscoder_of_two_sites_goes_through_every_stage",
    "recipes/test_imports.py::test_a_crosscoder_of_two_models",
    "training/test_frozen.py::test_a_frozen_decoder_does_not_find_what_a_trained_one_finds",
    "training/test_sites.py::test_a_transcoder_finds_what_each_planted_feature_writes[topk]",
    "test_typing.py::test_every_public_name_has_a_type",
    "recipes/test_demo.py::test_a_twin_that_is_begun_later_is_made_like_the_run",
    "training/test_training.py::test_jumprelu_reaches_its_target_l0[everything-3]",
    "training/test_training.py::test_jumprelu_reaches_its_target_l0[threshold-6]",
    "recipes/test_run.py::test_every_type_goes_through_every_stage[relu]",
    "recipes/test_finish.py::test_a_sweep_finishes_all_its_dictionaries_at_several_places",
    "evaluate/test_moments.py::test_controls_do_not_change_with_the_order_of_documents",
    "cli/test_kills.py::test_killed_when[the run's ticket is written]",
    "cli/test_kills.py::test_killed_when[the report is written]",
    "cli/test_kills.py::test_killed_when[the evaluation is put in place]",
    "recipes/test_sweep.py::test_read_ahead_it_ends_in_the_same_bytes",
    "atlas/test_difference.py::test_a_trained_l1_crosscoder_drops_weak_features_and_is_found_out[relu]",
    "recipes/test_run.py::test_what_is_recorded_is_what_was_trained[relu]",
    "recipes/test_run.py::test_every_type_goes_through_every_stage[matching_pursuit]",
    "training/test_finish.py::test_every_type_keeps_its_l0[clt]",
    "training/test_training.py::test_jumprelu_reaches_its_target_l0[threshold-3]",
    "training/test_sites.py::test_a_transcoder_finds_what_each_planted_feature_writes[jumprelu]",
    "training/test_sites.py::test_a_transcoder_finds_what_each_planted_feature_writes[relu]",
    "recipes/test_sites.py::test_a_transcoder_goes_through_every_stage[int8]",
    "recipes/test_control_runs.py::test_an_imported_dictionary_has_no_recipe",
    "recipes/test_first_block.py::test_progress_is_told_before_the_first_block_is_full[in a process of its own]",
    "recipes/test_demo.py::test_a_default_that_is_written_out_is_no_other_option",
    "recipes/test_imports.py::test_a_cross_layer_transcoder",
    "recipes/test_control_runs.py::test_rules_of_another_version_are_not_held_against_those_of_controls",
    "cli/test_cli.py::test_types_with_a_way_of_their_own_train_from_the_command_line[archetypal]",
    "recipes/test_demo.py::test_a_twin_that_was_made_otherwise_than_the_run_is_refused",
    "cli/test_tasks.py::test_ten_places_are_edited_together",
    "cli/test_tasks.py::test_the_same_place_of_other_prompts_is_trained_anew",
    "recipes/test_task_files.py::test_attributes_may_be_called_what_they_are",
    "evaluate/test_toys.py::test_a_heavy_penalty_hides_the_short_attribute_and_lets_the_long_one_be_found",
    "features/test_relations.py::test_memory_of_many_directions_is_that_of_their_best",
    "test_typing.py::test_a_name_that_is_not_public_is_refused",
    "atlas/test_difference.py::test_a_trained_l1_crosscoder_drops_weak_features_and_is_found_out[batchtopk]",
    "explain/asking/test_whole.py::test_rules_are_judged_by_the_embedded_model",
    "evaluate/supervised/test_places.py::test_a_dictionary_of_a_run_is_tested_at_its_own_site",
    "evaluate/supervised/test_places.py::test_the_walk_is_resumed_and_its_figures_are_all_there",
    "cli/test_stops.py::test_stopped_anywhere_a_verb_goes_on[kill]",
    "cli/test_tasks.py::test_the_first_command_is_not_answered_with_what_another_left",
    "server/test_asking.py::test_from_the_form_to_the_scores",
    "server/test_asking.py::test_a_server_that_is_killed_takes_its_process_with_it_and_leaves_nothing_half_written",
    "server/test_beside.py::test_pages_are_there_while_the_demo_goes_on_and_end_with_it[9]",
    "dictionaries/test_product_kernels.py::test_everything_here_selection_and_adam_in_the_interpreter",
    "features/test_index.py::test_rows_of_a_padded_unembedding_that_are_no_tokens_are_not_ranked",
    "explain/asking/test_whole.py::test_rules_are_judged_by_another_model",
    "recipes/test_goes_on.py::test_a_dataset_is_asked_for_once",
    "recipes/test_divided.py::test_the_demo_has_documents_enough_for_intervals",
    "dictionaries/test_clt.py::test_planted_features_are_found_at_their_layer_with_all_they_write",
    "training/test_pairs.py::test_where_features_map_one_to_one_the_penalised_pair_finds_them",
    "recipes/test_pairs.py::test_other_settings_want_another_name_or_to_replace",
    "lm/test_tokenizer.py::test_real_tokenizers_are_lossless[gpt-neox]",
    "recipes/test_task_files.py::test_text_of_all_kinds_is_read_again_when_its_name_or_its_contents_change",
    "recipes/test_control_runs.py::test_controls_that_learn_less_or_of_other_weights_are_what_they_say",
    "recipes/test_monosemanticity.py::test_the_whole_of_it_on_little_text",
    "recipes/test_doomed.py::test_killed_in_the_second_example_the_first_is_kept",
    "training/test_finish.py::test_without_reconstruction_the_model_loses_less_and_l0_stays[e2e]",
    "training/test_token_norm.py::test_directions_are_found_where_raw_tokens_hide_them",
    "recipes/test_goes_on.py::test_text_that_is_gone_stops_no_stage",
    "lm/test_load.py::test_models_are_read_as_far_as_they_go[no heads]",
    "recipes/test_task_files.py::test_a_file_is_put_to_a_model_and_again_when_it_changes",
    "evaluate/model_features/test_walk.py::test_another_seed_is_compared_with",
    "recipes/test_decomposing.py::test_another_seed_stands_beside_it_under_another_name",
    "recipes/test_run.py::test_every_type_goes_through_every_stage[topk]",
    "recipes/test_sites.py::test_a_transcoder_goes_through_every_stage[float32]",
    "recipes/test_sites.py::test_an_imported_transcoder_is_indexed_and_evaluated[circuit-tracer]",
    "training/test_sites.py::test_a_crosscoder_finds_shared_and_one_sided_features[batchtopk]",
    "server/test_live.py::test_the_process_ends_with_the_server[9]",
    "evaluate/test_controls.py::test_another_choice_of_controls_is_measured_anew",
    "recipes/test_replacing.py::test_figures_are_replaced_freely_since_nothing_stands_on_them",
    "cli/test_explain_llm.py::test_a_killed_run_pays_for_nothing_twice",
    "activations/test_prefetch.py::test_a_run_trained_with_prefetch_ends_in_the_same_bytes",
    "server/test_gallery.py::test_a_whole_dictionary_is_found_and_opened_in_one_file",
    "recipes/test_sites.py::test_each_site_of_a_cross_layer_transcoder_is_spliced_alone_from_the_undisturbed_model",
    *(
        f"explain/test_kinds.py::test_lists_predict_what_a_slow_reading_does[{kind}]"
        for kind in (
            "prefix of 3",
            "suffix of 3",
            "gap of 3",
            "gap of 4",
            "token after gap",
            "shape after token",
            "recent",
            "next",
            "place in row",
            "spelling before",
        )
    ),
    *(
        f"recipes/test_run.py::test_every_type_goes_through_every_stage[{kind}]"
        for kind in ("jumprelu", "gated", "matryoshka", "panneal", "abstopk")
    ),
    *(
        f"training/test_training.py::test_a_planted_dictionary_is_recovered[{kind}]"
        for kind in ("abstopk", "matryoshka", "gated", "panneal", "archetypal", "jumprelu everything", "jumprelu tanh")
    ),
    *(
        f"training/test_training.py::test_a_planted_dictionary_is_recovered[{kind}]"
        for kind in ("relu", "relu 2023", "matching_pursuit", "topk", "jumprelu")
    ),
    *(
        f"training/test_finish.py::test_every_type_keeps_its_l0[{kind}]"
        for kind in ("topk", "gated", "matryoshka", "panneal", "abstopk", "matching_pursuit", "archetypal")
    ),
)
"""Tests that take long and whose siblings are always run; with SPARSELEX_EVERY_TEST in the environment all are."""


OF_FEW = {
    "lm/test_kept.py": ("test_taken_up_behind_any_site", "test_rows_of_as_many_tokens_as_there_are_heads"),
    "lm/test_every_family.py": (
        "test_the_readout_is_the_direct_path",
        "test_every_hook_is_passed_and_edits_there_are_felt",
    ),
}
"""Tests of every architecture of which most runs try some that differ: with SPARSELEX_EVERY_TEST all are tried."""

DIFFERENT = (
    "gpt2",
    "gpt_neox",
    "llama",
    "gemma3_text",
    "gemma4_text experts",
    "opt post-norm",
    "olmo2",
    "granitemoe",
    "phi",
    "cohere",
    "deepseek_v3",
    "qwen3_next",
    "lfm2",
    "gpt_bigcode",
    "gptj",
    "bloom",
    "falcon groups",
    "mamba2",
)
"""Architectures that stand for their kin."""


def _is_seldom(file: str, name: str) -> bool:
    test, _, architecture = name.partition("[")
    if test in OF_FEW.get(file, ()):
        return architecture.removesuffix("]") not in DIFFERENT
    return f"{file}::{name}" in SELDOM


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all else as it was found; what is seldom run is skipped."""
    here = Path(__file__).parent
    places = {str(here / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(LONGEST)))
    if "SPARSELEX_EVERY_TEST" in os.environ:
        return
    for item in items:
        if _is_seldom(str(item.path.relative_to(here)), item.name):
            item.add_marker(pytest.mark.skip(reason="takes long: SPARSELEX_EVERY_TEST=1 runs it"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are never part of a test's name: gzip puts the time in them, and two workers would collect other tests."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real models and text beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the optional data folder {SHARED} is absent")
    return SHARED


@pytest.fixture(scope="session")
def small_workspace(tmp_path_factory) -> Workspace:
    """A workspace with a finished `main` run and its random twin. Read only: tests that change it make their own."""
    root = tmp_path_factory.mktemp("small")
    workspace = Workspace.create(root / "workspace")
    config = small_config(write_documents(root / "text"))
    build_all(workspace, config)
    build_all(workspace, twin_of(config), "twin")
    return workspace


@pytest.fixture(scope="session")
def small_index(small_workspace) -> FeatureIndex:
    """The feature index of the small `main` run."""
    return FeatureIndex(small_workspace.run("main") / "index", TokenCorpus(small_workspace.corpus_of("main")))
