"""A block whose MLP does one thing for each token, taken apart: `python -m tests.support.planted_mlp FOLDER` prints
what was found, as JSON by matrix."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.parameters.config import SpdConfig
from sparselex.parameters.decompose import decompose
from sparselex.parameters.gates import importance
from sparselex.parameters.losses import gates_of, maps_of
from sparselex.parameters.mlp.target import MlpTarget
from tests.support.copier import copier
from tests.support.rows import MadeRows


def planted(tokenizer) -> TransformersModel:
    """A block whose MLP does one thing for each of eight tokens: a component of each matrix a token, and no other."""
    torch.manual_seed(0)
    n, d = 8, 16
    config = GPTNeoXConfig(
        vocab_size=n,
        hidden_size=d,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=n,
        hidden_act="relu",
        use_parallel_residual=False,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    hf = GPTNeoXForCausalLM(config).eval()
    state = {name: torch.zeros_like(tensor) for name, tensor in hf.state_dict().items()}
    turn = torch.linalg.qr(torch.randn(d, d))[0]
    turn = torch.linalg.qr(torch.cat([torch.ones(d, 1), turn[:, 1:]], 1))[0][:, 1:]  # the norms take means out
    reads, writes = turn[:, :n], turn[:, n - 1 : 2 * n - 1]
    for name in state:
        if "norm" in name and name.endswith("weight"):
            state[name][:] = 1.0
    state["gpt_neox.embed_in.weight"][:] = reads.T
    state["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"][:] = reads.T
    state["gpt_neox.layers.0.mlp.dense_4h_to_h.weight"][:, : n - 1] = 2 * writes[:, 1:]
    state["gpt_neox.layers.0.mlp.dense_4h_to_h.weight"][:, n - 1] = -2 * writes[:, 1:].sum(-1)
    hf.load_state_dict(state)
    hf.get_output_embeddings().weight.data[1:] = writes[:, 1:].T
    return TransformersModel(hf, tokenizer, ModelConfig(name="planted"))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    model = planted(copier(folder / "model").tokenizer)
    target = MlpTarget(model, MadeRows(np.random.default_rng(0).integers(0, 8, (64, 8)), 64), 0)
    config = SpdConfig(
        n_components=40, d_gate=4, n_steps=600, batch_size=48, lr=1e-2, minimality=2e-3, faithfulness=10.0
    )
    inputs = lambda n, generator: target.draw(range(64), n, generator)
    parts = decompose(target, inputs, config, folder / "checkpoint", "planted")
    flat, found = target.corpus.tokens.reshape(-1), {}
    x = torch.tensor([int(np.flatnonzero(flat == token)[0]) for token in range(8)])
    there = target.run(x, {})
    alone = {}
    for name, gates in gates_of(parts, there).items():
        g, one = importance(gates), parts[name]
        best = ((g * one.inner(there.inputs[name])).abs() * one.U.norm(dim=-1)).argmax(-1)
        alone[name] = torch.nn.functional.one_hot(best, config.n_components).float()
        needed = torch.arange(8) < 7
        found[name] = {
            "n_components": len(set(best[needed].tolist())),
            "important": float((g > 0.5).sum(-1)[needed].float().mean()),
        }
    moved = lambda masks: float(
        target.distance(target.run(x, maps_of(parts, masks)).output, there.output)[needed].max()
    )
    found["distance"] = {
        "alone": moved(alone),
        "nothing": moved({name: torch.zeros_like(one) for name, one in alone.items()}),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
