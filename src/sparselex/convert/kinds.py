"""What bare tensors can be read as. Nothing here loads PyTorch."""

from typing import Literal

BareKind = Literal["relu", "topk", "batchtopk", "jumprelu", "gated", "abstopk"]
"""Types of ours: `batchtopk` is what has one threshold for all latents, and becomes a JumpReLU."""
