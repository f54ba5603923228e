"""What tensors and settings are called in files of several projects: the tables by which bare tensors are read."""

from itertools import chain

from sparselex.convert.fields import Fields
from sparselex.dictionaries.transformer_lens import OF_HEADS

ROLES = {
    "W_enc": ("w_enc", "encoder.weight", "encoder_weights", "encoder_weight", "w_e", "enc.weight", "encoder"),
    "b_enc": ("b_enc", "encoder.bias", "encoder_bias", "latent_bias", "b_e", "enc.bias", "b_gate", "gate_bias"),
    "W_dec": ("w_dec", "decoder.weight", "decoder_weights", "decoder_weight", "w_d", "dec.weight", "decoder"),
    "b_dec": ("b_dec", "decoder.bias", "decoder_bias", "bias", "pre_bias", "b_pre", "b_d", "dec.bias"),
    "threshold": ("threshold", "thresholds", "activation.threshold", "activation_function.threshold"),
    "log_threshold": ("log_threshold", "log_jumprelu_threshold", "activation_function.log_jumprelu_threshold"),
    "r_mag": ("r_mag",),
    "b_mag": ("b_mag", "mag_bias"),
    "k": ("k", "top_k", "topk"),
    "mean": ("act_mean", "activation_mean", "input_mean", "data_mean", "mean"),
}
"""What a tensor is, by the names (in lower case) that it has in files of several projects."""

CENTRES = ("bias", "pre_bias", "b_pre", "decoder_bias")
"""Names of `b_dec` in projects that subtract it from the input: the first dictionary_learning's `AutoEncoder`."""

FILES = ("config.json", "cfg.json", "config.yaml")
"""Files of settings beside the tensors."""

TABLES = ("state_dict", "model_state_dict", "sae_state_dict", "model_state", "model", "sae", "autoencoder", "weights")
"""Tables of tensors in a file, by their names."""

SETTINGS = ("cfg", "config", "hparams", "args", "hyperparameters", "trainer", "metadata")
"""Tables of settings in a file, by their names."""

PREFIXES = ("_orig_mod.", "module.", "model.", "sae.", "autoencoder.", "ae.")
"""What may stand before the names of all tensors."""

KINDS = {
    "relu": "relu",
    "standard": "relu",
    "autoencoder": "relu",
    "topk": "topk",
    "autoencodertopk": "topk",
    "topk_sae": "topk",
    "batchtopk": "batchtopk",
    "batch_topk": "batchtopk",
    "batchtopksae": "batchtopk",
    "jumprelu": "jumprelu",
    "jump_relu": "jumprelu",
    "jumpreluautoencoder": "jumprelu",
    "gated": "gated",
    "gatedautoencoder": "gated",
    "abstopk": "abstopk",
}
"""Our types by what settings call them, in lower case."""

SAY_KIND = ("activation", "activation_fn", "act_fn", "architecture", "dict_class", "model_type", "kind", "type")
"""Settings that may say which of them it is."""

COUNTS = ("k", "top_k", "topk")
SIZES = ("d_in", "activation_dim"), ("d_sae", "dict_size", "num_latents")
PLACES = ("hook_name", "hook_point", "hook_point_in"), ("hook_name_out", "hook_point_out")
SUBTRACTS = ("centred", "apply_b_dec_to_input", "apply_decoder_bias_to_pre_encoder")
"""Names of one setting each, or of two, in several projects: how many latents are kept, the two widths, what is read
and what is written, and whether `b_dec` is subtracted from the input."""

FIELDS = Fields(
    used="threshold tied model_name base_model lm_name submodule_name hook_head_index hook_point_head_index "
    + " ".join((*COUNTS, *SUBTRACTS, *SAY_KIND, *chain(*SIZES, *PLACES))),
    harmless="lr learning_rate seed device dtype d_model steps n_steps total_steps training_steps warmup_steps "
    "lr_warm_up_steps resample_steps batch_size train_batch_size n_epochs epochs epoch step expansion expansion_factor "
    "l1_coefficient l1_coeff l1_penalty l1_warm_up_steps l0_coefficient sparsity_penalty sparsity_coefficient "
    "sparsity_loss auxk_alpha aux_alpha aux_loss_coefficient k_aux top_k_aux wandb_* optimizer optimizer_state_dict "
    "scheduler_state_dict layer hook_layer hook_point_layer num_layers n_tokens n_tokens_seen n_tokens_trained version "
    "torch_version sae_lens_version sae_lens_training_version weight_decay dataset_path save_path checkpoint_path "
    "output_path name loss log_to_wandb log_every log_interval",
    only={
        "normalize": (False, None, "none"),
        "normalize_activations": (False, None, "none"),
        "reshape_activations": (None, "none", OF_HEADS),
        "input_scale": (1, 1.0),
        # What is compared with k or a threshold here are activations, whatever the norms of the decoder's rows.
        "rescale_acts_by_decoder_norm": (False, None),
        "sparsity_include_decoder_norm": (False, None),
    },
    stated={"prepend_bos": "prepend_bos", "context_size": "context_size", "dataset": "dataset"},
    tensors="stats_last_nonzero num_batches_not_active num_tokens_since_fired",
)
