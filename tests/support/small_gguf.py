"""A small model in llama.cpp's format: random weights and the embedded model's tokenizer, written by the package that
makes such files."""

import json
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from sparselex.lm.embedded import EMBEDDED

WIDTH, HEADS, LAYERS = 32, 4, 2


def small_gguf(path: Path, architecture: str = "llama") -> hf.LlamaForCausalLM:
    """Write it, and give the model that it is; `architecture` is what it says that it is."""
    import gguf

    spec = json.loads((EMBEDDED["embedded"] / "tokenizer.json").read_text())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=128,
    )
    model = hf.LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, *[1] * (len(tokens) - 1)])
    writer.add_token_merges([" ".join(pair) for pair in spec["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, value in model.state_dict().items():
        writer.add_tensor(_name_there(name), np.ascontiguousarray(_as_there(name, value.numpy())))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _name_there(name: str) -> str:
    for here, there in _NAMES.items():
        name = name.replace(here, there)
    return name


def _as_there(name: str, value: np.ndarray) -> np.ndarray:
    """llama.cpp has the two halves of each head that rotary embedding turns together beside each other."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return value
    halves = value.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH)
    return halves.swapaxes(1, 2).reshape(value.shape)


_NAMES = {
    "model.layers.": "blk.",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
}
