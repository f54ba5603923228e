"""What is known of the fields of SAELens's files."""

from sparselex.convert.fields import Fields

FIELDS = Fields(
    used="architecture activation_fn activation_fn_str activation_fn_kwargs d_in d_out d_sae k apply_b_dec_to_input "
    "normalize_activations reshape_activations rescale_acts_by_decoder_norm finetuning_scaling_factor metadata "
    "residual_threshold max_iterations stop_on_duplicate_support model_name hook_name hook_point hook_name_out "
    "hook_head_index hook_point_head_index model_from_pretrained_kwargs",
    harmless="dtype device hook_layer hook_point_layer hook_layer_out hook_point_eval hook_eval hf_hook_name "
    "sae_lens_version sae_lens_training_version neuronpedia_id model_class_name model_kwargs "
    "dataset_trust_remote_code exclude_special_tokens disable_concat_sequences sequence_separator_token "
    "streaming is_dataset_tokenized use_cached_activations cached_activations_path from_pretrained_path "
    "n_batches_in_buffer store_batch_size store_batch_size_prompts store_batch_size_tokens training_tokens "
    "finetuning_tokens finetuning_method b_dec_init_method expansion_factor normalize_sae_decoder noise_scale "
    "decoder_orthogonal_init decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm "
    "init_encoder_as_decoder_transpose act_store_device seed autocast autocast_lm compile_* llm_* "
    "sae_compilation_mode train_batch_size train_batch_size_tokens adam_beta1 adam_beta2 "
    "mse_loss_normalization l1_coefficient l1_warm_up_steps lp_norm l0_coefficient l0_warm_up_steps "
    "scale_sparsity_penalty_by_decoder_norm lr lr_* n_restart_cycles use_ghost_grads feature_sampling_* "
    "dead_feature_* n_eval_* eval_* log_*_wandb wandb_* run_name verbose resume n_checkpoints checkpoint_path "
    "output_path save_path save_final_checkpoint jumprelu_init_threshold jumprelu_bandwidth "
    "jumprelu_sparsity_loss_mode jumprelu_tanh_scale pre_act_loss_coefficient aux_loss_coefficient "
    "use_sparse_activations topk_threshold_lr k_aux matryoshka_widths use_matryoshka_aux_loss use_error_term "
    "total_training_samples logger",
    warned={"seqpos_slice": (None, [None], [None, None])},
    # The threshold stands for it.
    idle={"batchtopk": "k", "matryoshka_batchtopk": "k"},
    stated={"prepend_bos": "prepend_bos", "context_size": "context_size", "dataset_path": "dataset"},
)

ACTIVATION = Fields(used="k", harmless="use_sparse_activations")
"""What `activation_fn_kwargs` may hold."""

FACTORS = ("scaling_factor", "finetuning_scaling_factor")
"""What activations are multiplied by, before version 6."""

MODEL_FIELDS = Fields(
    used="center_writing_weights fold_ln fold_value_biases refactor_factored_attn_matrices",
    harmless="n_devices device device_map dtype torch_dtype center_unembed default_padding_side move_to_device "
    "low_cpu_mem_usage trust_remote_code cache_dir local_files_only token first_n_layers attn_implementation",
    warned={"checkpoint_index": (None,), "checkpoint_value": (None,), "revision": (None, "main")},
)
"""What TransformerLens is asked for when it loads the model (`model_from_pretrained_kwargs`)."""
