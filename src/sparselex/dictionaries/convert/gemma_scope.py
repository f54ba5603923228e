"""Gemma Scope 1: `params.npz`, rows as ours, `b_dec` not subtracted from the input, inputs unscaled."""

from sparselex.dictionaries.convert.tensors import Tensors, read_numpy
from sparselex.dictionaries.convert.weights import Found, Source, Weights, to_jumprelu


def read_gemma_scope(source: Source) -> Found:
    """An autoencoder, or a transcoder where the person says so: both have the same names."""
    tensors = read_numpy(source.weights)
    W_enc = tensors.take("W_enc", -1, -1)
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, -1)
    d_out = _width(tensors, d_in, W_dec.shape[1], source.transcoder)
    weights = Weights(
        W_enc, tensors.take("b_enc", d_sae), W_dec, tensors.take("b_dec", d_out), transcoder=source.transcoder
    )
    return Found(to_jumprelu(weights.uncentred(), tensors.take("threshold", d_sae)))


def _width(tensors: Tensors, d_in: int, d_out: int, transcoder: bool) -> int:
    if d_in != d_out and not transcoder:
        raise tensors.fault(f"it reads width {d_in} and writes width {d_out}: a transcoder, whose target must be named")
    return d_out
