"""A small random model of every family, and of the variants that its configuration makes."""

import torch
import transformers as hf

from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model

SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SMALL = SPECIAL | {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
SHARED_HEADS = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
OPT = {name: value for name, value in SMALL.items() if name != "intermediate_size"} | {
    "ffn_dim": 40,
    "word_embed_proj_dim": 24,
    "dropout": 0.0,
}
OPT_350M = OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}
GPT = {
    "vocab_size": 50,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
MPT = {"vocab_size": 50, "d_model": 24, "n_layers": 2, "n_heads": 4, "max_seq_len": 32}
HANDWRITTEN = {
    "gpt2": hf.GPT2Config(**GPT),
    "gpt_neox": hf.GPTNeoXConfig(**SMALL, rotary_pct=0.7, use_parallel_residual=True),
    "gpt_neox sequential": hf.GPTNeoXConfig(**SMALL, rotary_pct=1.0, use_parallel_residual=False),
    "llama": hf.LlamaConfig(**SHARED_HEADS),
    "mistral": hf.MistralConfig(**SHARED_HEADS),
    "gemma": hf.GemmaConfig(**SHARED_HEADS),
    "gemma2": hf.Gemma2Config(
        **SHARED_HEADS, query_pre_attn_scalar=10, attn_logit_softcapping=0.5, final_logit_softcapping=2.0
    ),
    "gemma3_text": hf.Gemma3TextConfig(**SHARED_HEADS, layer_types=["sliding_attention", "full_attention"]),
    "qwen2": hf.Qwen2Config(**SMALL | {"num_key_value_heads": 2}),
    "qwen3": hf.Qwen3Config(**SHARED_HEADS),
    "granite": hf.GraniteConfig(
        **SMALL | {"num_key_value_heads": 2},
        residual_multiplier=0.3,
        logits_scaling=4.0,
        embedding_multiplier=3.0,
        attention_multiplier=0.2,
    ),
    "opt": hf.OPTConfig(**OPT),
    "opt post-norm": hf.OPTConfig(**OPT, do_layer_norm_before=False),
}

LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "q_lora_rank": 12,
    "kv_lora_rank": 10,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 20,
    "first_k_dense_replace": 1,
}
GEMMA4 = SHARED_HEADS | {
    "global_head_dim": 12,
    "layer_types": ["sliding_attention", "full_attention"],
    "hidden_size_per_layer_input": 0,
    "num_kv_shared_layers": 0,
}
FALCON = SPECIAL | {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}

OTHERS = {
    "ministral": hf.MinistralConfig(**SHARED_HEADS, layer_types=["sliding_attention", "full_attention"]),
    "ministral3": hf.Ministral3Config(**SHARED_HEADS),
    "smollm3": hf.SmolLM3Config(**SHARED_HEADS),
    "bitnet": hf.BitNetConfig(**SMALL | {"num_key_value_heads": 2}),
    "olmo": hf.OlmoConfig(**SMALL),
    "arcee": hf.ArceeConfig(**SHARED_HEADS),
    "ernie4_5": hf.Ernie4_5Config(**SHARED_HEADS),
    "glm": hf.GlmConfig(**SHARED_HEADS),
    "helium": hf.HeliumConfig(**SHARED_HEADS | {"head_dim": 6}),
    "hunyuan_v1_dense": hf.HunYuanDenseV1Config(**SHARED_HEADS),
    "nemotron": hf.NemotronConfig(**SHARED_HEADS),
    "seed_oss": hf.SeedOssConfig(**SHARED_HEADS),
    "stablelm": hf.StableLmConfig(**SMALL | {"num_attention_heads": 3, "num_key_value_heads": 3}),
    "stablelm parallel": hf.StableLmConfig(
        **SMALL | {"num_attention_heads": 3, "num_key_value_heads": 3}, use_parallel_residual=True
    ),
    "gemma3": hf.Gemma3Config(
        text_config=hf.Gemma3TextConfig(**SHARED_HEADS, layer_types=["sliding_attention", "full_attention"]),
        vision_config=VISION,
        image_token_index=49,
    ),
    "gemma4_text": hf.Gemma4TextConfig(**GEMMA4, final_logit_softcapping=2.0),
    "gemma4_text experts": hf.Gemma4TextConfig(
        **GEMMA4, enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=20
    ),
    "gemma4_text small": hf.Gemma4TextConfig(
        **GEMMA4
        | {"hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 50, "num_kv_shared_layers": 1}
        | {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "full_attention"]}
    ),
    "gemma4": hf.Gemma4Config(text_config=hf.Gemma4TextConfig(**GEMMA4), vision_config=None, audio_config=None),
    "olmo2": hf.Olmo2Config(**SMALL | {"num_key_value_heads": 2}),
    "olmo3": hf.Olmo3Config(**SMALL | {"num_key_value_heads": 2}),
    "exaone4": hf.Exaone4Config(**SHARED_HEADS, layer_types=["sliding_attention", "full_attention"]),
    "glm4": hf.Glm4Config(**SHARED_HEADS),
    "granitemoe": hf.GraniteMoeConfig(
        **SMALL | LOCAL | {"num_key_value_heads": 2}, residual_multiplier=0.3, logits_scaling=4.0
    ),
    "apertus": hf.ApertusConfig(**SHARED_HEADS),
    "starcoder2": hf.Starcoder2Config(**SMALL | {"num_key_value_heads": 2}),
    "phi": hf.PhiConfig(**SMALL | {"num_attention_heads": 3}),
    "phi3": hf.Phi3Config(**SMALL | {"num_key_value_heads": 2}),
    "cohere": hf.CohereConfig(**SMALL | {"num_key_value_heads": 2}, logit_scale=0.25),
    "cohere2": hf.Cohere2Config(**SHARED_HEADS, layer_types=["sliding_attention", "full_attention"], logit_scale=0.25),
    "mixtral": hf.MixtralConfig(**SHARED_HEADS | LOCAL),
    "qwen2_moe": hf.Qwen2MoeConfig(
        **SMALL | EXPERTS, num_key_value_heads=2, shared_expert_intermediate_size=20, mlp_only_layers=[0]
    ),
    "qwen3_moe": hf.Qwen3MoeConfig(**SHARED_HEADS | EXPERTS),
    "olmoe": hf.OlmoeConfig(**SMALL | {"num_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2}),
    "glm4_moe": hf.Glm4MoeConfig(
        **SHARED_HEADS,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=20,
        first_k_dense_replace=1,
    ),
    "gpt_oss": hf.GptOssConfig(**SHARED_HEADS | LOCAL, layer_types=["sliding_attention", "full_attention"]),
    "deepseek_v2": hf.DeepseekV2Config(**SMALL | LATENT, n_group=1, topk_group=1),
    "deepseek_v3": hf.DeepseekV3Config(**SMALL | LATENT, num_key_value_heads=4, n_group=2, topk_group=1),
    "qwen3_next": hf.Qwen3NextConfig(**SHARED_HEADS | EXPERTS | LINEAR, shared_expert_intermediate_size=20),
    "qwen3_5_text": hf.Qwen3_5TextConfig(**SHARED_HEADS | LINEAR),
    "qwen3_5_moe_text": hf.Qwen3_5MoeTextConfig(**SHARED_HEADS | EXPERTS | LINEAR, shared_expert_intermediate_size=20),
    "lfm2": hf.Lfm2Config(**SMALL | {"num_key_value_heads": 2}, layer_types=["conv", "full_attention"]),
    "gpt_bigcode": hf.GPTBigCodeConfig(**GPT),
    "gpt_bigcode heads": hf.GPTBigCodeConfig(**GPT, multi_query=False),
    "gpt_neo": hf.GPTNeoConfig(
        **SPECIAL,
        vocab_size=50,
        hidden_size=24,
        num_layers=2,
        num_heads=4,
        max_position_embeddings=32,
        attention_types=[[["global", "local"], 1]],
    ),
    "gptj": hf.GPTJConfig(**GPT, rotary_dim=4),
    "bloom": hf.BloomConfig(vocab_size=50, hidden_size=24, n_layer=2, n_head=4),
    "falcon": hf.FalconConfig(**FALCON, multi_query=True),
    "falcon groups": hf.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "falcon sequential": hf.FalconConfig(**FALCON, parallel_attn=False, multi_query=False, alibi=True, bias=True),
    "opt-350m": hf.OPTConfig(**OPT_350M),
    "mamba": hf.MambaConfig(**SPECIAL, vocab_size=50, hidden_size=24, num_hidden_layers=2, state_size=4),
    "mamba2": hf.Mamba2Config(
        **SPECIAL,
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        state_size=4,
        num_heads=6,
        head_dim=8,
        n_groups=1,
        chunk_size=4,
    ),
    "falcon_mamba": hf.FalconMambaConfig(**SPECIAL, vocab_size=50, hidden_size=24, num_hidden_layers=2, state_size=4),
}
CONFIGS = HANDWRITTEN | OTHERS

TOKENS = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))


def build(name: str) -> TransformersModel:
    """The model of that name with weights large enough that every part of it matters."""
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(
        CONFIGS[name], attn_implementation="eager", experts_implementation="eager"
    )
    for name_, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms and biases start at one and zero, which would hide a mistake
            parameter.data += 0.3 * torch.randn_like(parameter)
        elif "embed" not in name_ and "A_log" not in name_:  # a recurrence would run away
            parameter.data *= 4
    for name_, buffer in model.named_buffers():
        if name_.endswith("layer_scalar"):
            buffer.fill_(0.7)
    return TransformersModel(model, load_model("embedded").tokenizer, ModelConfig(name=name))


def mpt(n_layers):
    """A family that has no names here."""
    config = hf.MptConfig(**MPT | {"n_layers": n_layers})
    return TransformersModel(hf.MptForCausalLM(config), load_model("embedded").tokenizer, ModelConfig(name="mpt"))
