"""A forward pass written out by hand from a model's tensors, for every family: the slow, obvious reference of the
hooks."""

import math

import torch
import torch.nn.functional as F


def tensors(model, prefix):
    """Weights below `prefix`, their names cut short."""
    return {name.removeprefix(prefix): value for name, value in model.state_dict().items() if name.startswith(prefix)}


def linear(p, name, x):
    weight, bias = p[f"{name}.weight"], p.get(f"{name}.bias")
    out = x @ (weight if name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj") else weight.T)
    return out if bias is None else out + bias


def layer_norm(p, name, x, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def rms_norm(p, name, x, eps, offset):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * (p[f"{name}.weight"] + offset)


def rotate(x, theta, n_rotary):
    """Rotary embedding on the first `n_rotary` dimensions of `[batch, head, position, d_head]`."""
    turned, rest = x[..., :n_rotary], x[..., n_rotary:]
    frequency = theta ** (-torch.arange(0, n_rotary, 2).float() / n_rotary)
    angle = torch.arange(x.shape[2])[:, None] * frequency
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
    left, right = turned.chunk(2, dim=-1)
    return torch.cat([turned * cos + torch.cat([-right, left], -1) * sin, rest], -1)


def attend(q, k, v, scale, cap=None):
    """Causal attention of `[batch, position, heads, d_head]`; fewer key heads are shared among query heads."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
    scores = q @ k.transpose(-1, -2) * scale
    if cap:
        scores = cap * torch.tanh(scores / cap)
    n = scores.shape[-1]
    scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def forward(model, tokens):
    """Every named site `{name: [batch, ctx, width]}` and the logits."""
    return {"gpt2": gpt2, "gpt_neox": neox, "opt": opt}.get(model.config.model_type, llama_like)(model, tokens)


def block(sites, layer, values):
    sites.update(
        {f"blocks.{layer}.{name}": value.flatten(2) if value.ndim > 3 else value for name, value in values.items()}
    )


def gpt2(model, tokens):
    c, top, sites = model.config, tensors(model, "transformer."), {}
    x = top["wte.weight"][tokens] + top["wpe.weight"][: tokens.shape[1]]
    for layer in range(c.n_layer):
        p = tensors(model, f"transformer.h.{layer}.")
        q, k, v = linear(p, "attn.c_attn", layer_norm(p, "ln_1", x, c.layer_norm_epsilon)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (c.n_head, -1)) for part in (q, k, v))
        z = attend(q, k, v, q.shape[-1] ** -0.5)
        attn_out = linear(p, "attn.c_proj", z.flatten(2))
        mid = x + attn_out
        mlp_in = layer_norm(p, "ln_2", mid, c.layer_norm_epsilon)
        hidden = F.gelu(linear(p, "mlp.c_fc", mlp_in), approximate="tanh")
        mlp_out = linear(p, "mlp.c_proj", hidden)
        block(
            sites,
            layer,
            {
                "hook_resid_pre": x,
                "attn.hook_q": q,
                "attn.hook_k": k,
                "attn.hook_v": v,
                "attn.hook_z": z,
                "hook_attn_out": attn_out,
                "hook_resid_mid": mid,
                "hook_mlp_in": mlp_in,
                "mlp.hook_post": hidden,
                "hook_mlp_out": mlp_out,
                "hook_resid_post": mid + mlp_out,
            },
        )
        x = mid + mlp_out
    return sites, layer_norm(top, "ln_f", x, c.layer_norm_epsilon) @ model.state_dict()["lm_head.weight"].T


def neox(model, tokens):
    c, top, sites = model.config, tensors(model, "gpt_neox."), {}
    x = top["embed_in.weight"][tokens]
    d_head = c.hidden_size // c.num_attention_heads
    for layer in range(c.num_hidden_layers):
        p = tensors(model, f"gpt_neox.layers.{layer}.")
        qkv = linear(p, "attention.query_key_value", layer_norm(p, "input_layernorm", x, c.layer_norm_eps))
        q, k, v = qkv.unflatten(-1, (c.num_attention_heads, 3, d_head)).unbind(-2)
        n_rotary = int(d_head * c.rope_parameters["partial_rotary_factor"])
        turned = [
            rotate(part.transpose(1, 2), c.rope_parameters["rope_theta"], n_rotary).transpose(1, 2) for part in (q, k)
        ]
        z = attend(*turned, v, d_head**-0.5)
        attn_out = linear(p, "attention.dense", z.flatten(2))
        mid = x + attn_out
        mlp_in = layer_norm(p, "post_attention_layernorm", x if c.use_parallel_residual else mid, c.layer_norm_eps)
        hidden = F.gelu(linear(p, "mlp.dense_h_to_4h", mlp_in))
        mlp_out = linear(p, "mlp.dense_4h_to_h", hidden)
        values = {
            "hook_resid_pre": x,
            "attn.hook_q": q,
            "attn.hook_k": k,
            "attn.hook_v": v,
            "attn.hook_z": z,
            "hook_attn_out": attn_out,
            "hook_mlp_in": mlp_in,
            "mlp.hook_post": hidden,
            "hook_mlp_out": mlp_out,
            "hook_resid_post": mid + mlp_out,
        }
        block(sites, layer, values if c.use_parallel_residual else values | {"hook_resid_mid": mid})
        x = mid + mlp_out
    head = model.get_output_embeddings().weight
    return sites, layer_norm(top, "final_layer_norm", x, c.layer_norm_eps) @ head.T


def opt(model, tokens):
    c, top, sites = model.config, tensors(model, "model.decoder."), {}
    x = top["embed_tokens.weight"][tokens] + top["embed_positions.weight"][2 : 2 + tokens.shape[1]]
    before = c.do_layer_norm_before
    for layer in range(c.num_hidden_layers):
        p = tensors(model, f"model.decoder.layers.{layer}.")
        a = layer_norm(p, "self_attn_layer_norm", x, 1e-5) if before else x
        q, k, v = (linear(p, f"self_attn.{n}_proj", a).unflatten(-1, (c.num_attention_heads, -1)) for n in "qkv")
        z = attend(q, k, v, q.shape[-1] ** -0.5)
        attn_out = linear(p, "self_attn.out_proj", z.flatten(2))
        mid = x + attn_out
        if not before:
            mid = layer_norm(p, "self_attn_layer_norm", mid, 1e-5)
        mlp_in = layer_norm(p, "final_layer_norm", mid, 1e-5) if before else mid
        hidden = linear(p, "fc1", mlp_in).relu()
        mlp_out = linear(p, "fc2", hidden)
        post = mid + mlp_out if before else layer_norm(p, "final_layer_norm", mid + mlp_out, 1e-5)
        block(
            sites,
            layer,
            {
                "hook_resid_pre": x,
                "attn.hook_q": q,
                "attn.hook_k": k,
                "attn.hook_v": v,
                "attn.hook_z": z,
                "hook_attn_out": attn_out,
                "hook_resid_mid": mid,
                "hook_mlp_in": mlp_in,
                "mlp.hook_post": hidden,
                "hook_mlp_out": mlp_out,
                "hook_resid_post": post,
            },
        )
        x = post
    x = layer_norm(top, "final_layer_norm", x, 1e-5) if before else x
    return sites, x @ model.get_output_embeddings().weight.T


def llama_like(model, tokens):
    """Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3, Granite: gated MLPs, RMS norms, shared key heads."""
    c, top, sites = model.config, tensors(model, "model."), {}
    gemma = c.model_type.startswith("gemma")
    post_norms = c.model_type in ("gemma2", "gemma3_text")
    offset = 1.0 if gemma else 0.0
    norm = lambda p, name, x: rms_norm(p, name, x, c.rms_norm_eps, offset)
    x = top["embed_tokens.weight"][tokens] * getattr(
        c, "embedding_multiplier", math.sqrt(c.hidden_size) if gemma else 1
    )
    added = getattr(c, "residual_multiplier", 1.0)
    d_head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    scale = getattr(c, "attention_multiplier", getattr(c, "query_pre_attn_scalar", d_head) ** -0.5)
    for layer in range(c.num_hidden_layers):
        p = tensors(model, f"model.layers.{layer}.")
        rope = c.rope_parameters
        rope = rope[c.layer_types[layer]] if "rope_theta" not in rope else rope
        a = norm(p, "input_layernorm", x)
        q, k, v = (linear(p, f"self_attn.{n}_proj", a).unflatten(-1, (-1, d_head)) for n in "qkv")
        normed = [q, k]
        if "self_attn.q_norm.weight" in p:
            normed = [norm(p, f"self_attn.{n}_norm", part) for n, part in zip("qk", normed, strict=True)]
        turned = [rotate(part.transpose(1, 2), rope["rope_theta"], d_head).transpose(1, 2) for part in normed]
        z = attend(*turned, v, scale, getattr(c, "attn_logit_softcapping", None))
        attn_out = linear(p, "self_attn.o_proj", z.flatten(2)) * added
        if post_norms:
            attn_out = norm(p, "post_attention_layernorm", attn_out)
        mid = x + attn_out
        mlp_in = norm(p, "pre_feedforward_layernorm" if post_norms else "post_attention_layernorm", mid)
        gate = linear(p, "mlp.gate_proj", mlp_in)
        hidden = (F.gelu(gate, approximate="tanh") if gemma else F.silu(gate)) * linear(p, "mlp.up_proj", mlp_in)
        mlp_out = linear(p, "mlp.down_proj", hidden) * added
        if post_norms:
            mlp_out = norm(p, "post_feedforward_layernorm", mlp_out)
        block(
            sites,
            layer,
            {
                "hook_resid_pre": x,
                "attn.hook_q": q,
                "attn.hook_k": k,
                "attn.hook_v": v,
                "attn.hook_z": z,
                "hook_attn_out": attn_out,
                "hook_resid_mid": mid,
                "hook_mlp_in": mlp_in,
                "mlp.hook_post": hidden,
                "hook_mlp_out": mlp_out,
                "hook_resid_post": mid + mlp_out,
            },
        )
        x = mid + mlp_out
    logits = norm(top, "norm", x) @ model.get_output_embeddings().weight.T / getattr(c, "logits_scaling", 1.0)
    cap = getattr(c, "final_logit_softcapping", None)
    return sites, cap * torch.tanh(logits / cap) if cap else logits
