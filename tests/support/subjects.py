"""Subject models of the tests' own, as folders that `load_model` takes by name."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparselex.lm.embedded import EMBEDDED


def saved(folder: Path, model: Any) -> str:
    """The folder of a Hugging Face model beside the embedded model's tokenizer; `model` may be a configuration, of
    which one is drawn at random."""
    if not isinstance(model, torch.nn.Module):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED["embedded"]).save_pretrained(folder)
    return str(folder)
