"""Public conformance checks: any dictionary, ours or a plug-in's, can be held against the interface's promises."""

import torch

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary


def check_dictionary(dictionary: Dictionary, n_tokens: int = 64, seed: int = 0) -> None:
    """Assert what every `Dictionary` promises, on random inputs. Raises `AssertionError` naming the broken promise."""
    x = torch.randn(n_tokens, dictionary.d_in, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        acts, codes = dictionary.encode(x), dictionary.encode_sparse(x)
        _close(codes.dense(), acts, "encode_sparse equals encode")
        assert isinstance(codes, Codes) and len(codes) == n_tokens, "encode_sparse covers every token"
        assert (codes.values != 0).all(), "codes list active latents only"
        _close(dictionary.decode(acts), dictionary.decode_sparse(codes), "decode_sparse equals decode")
        past = dictionary.bypass(x)
        whole = dictionary.decode(acts) if past is None else dictionary.decode(acts) + past
        _close(dictionary(x), whole, "forward is decode after encode, and what bypasses the latents")
        assert whole.shape == (n_tokens, dictionary.d_out), "reconstructions are [n, d_out]"
        _close(dictionary.decode(torch.zeros_like(acts[:1])), dictionary.b_dec[None], "no latent decodes to b_dec")
        halves = torch.cat([dictionary.encode(part) for part in x.split(n_tokens // 2)])
        _close(halves, acts, "a token's code does not depend on its batch")
        assert dictionary.W_dec.shape == (dictionary.d_sae, dictionary.d_out), "W_dec is [d_sae, d_out]"
        assert acts.shape == (n_tokens, dictionary.d_sae), "encode gives [n, d_sae]"
        assert len(dictionary.encode(x[:0])) == 0 and len(dictionary.encode_sparse(x[:0])) == 0, "no tokens are fine"
    x = x.clone().requires_grad_()
    found = dictionary.encode(x)
    if found.requires_grad and (found != 0).any():
        found.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and (x.grad != 0).any(), "gradients flow from codes to inputs"


def _close(found: torch.Tensor, expected: torch.Tensor, promise: str) -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-4, atol=1e-5, msg=lambda text: f"broken promise: {promise}\n{text}"
    )
