"""A Llama of some blocks and width 16 with random weights: deep where the hand-made models have one block."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from tests.support.copier import write_copier

N_VOCAB = 24


def tiny_llama(folder: Path, n_layers: int, initializer_range: float) -> SubjectModel:
    """It has the tokenizer of the copier, whose words mean nothing to it."""
    write_copier(folder)
    torch.manual_seed(0)
    shape = {"num_hidden_layers": n_layers, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    config = LlamaConfig(vocab_size=N_VOCAB, initializer_range=initializer_range, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return load_model(str(folder))
