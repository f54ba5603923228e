"""Small weights for files of other projects, and the formulas that those projects compute with them."""

import torch

from sparselex.testing import check_dictionary

D_IN, D_SAE = 8, 24


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


W_ENC, W_DEC = numbers(D_IN, D_SAE), numbers(D_SAE, D_IN)
B_ENC, B_DEC, THRESHOLD = 0.3 * numbers(D_SAE), numbers(D_IN), numbers(D_SAE, seed=5).abs()
R_MAG, B_MAG = 0.2 * numbers(D_SAE, seed=7), 0.1 * numbers(D_SAE, seed=9)
UNIT = W_DEC / W_DEC.norm(dim=-1, keepdim=True)
X = numbers(40, D_IN, seed=3)


def jump(pre, threshold):
    return torch.where(pre > threshold, pre, 0) * (pre > 0)


def top(scores, pre, k):
    kept = torch.zeros_like(pre).scatter(1, scores.topk(k, dim=1).indices, 1.0)
    return (kept * pre).relu()


PRE, RAW = (X - B_DEC) @ W_ENC + B_ENC, X @ W_ENC + B_ENC


MEAN, DEVIATION = X.mean(-1, keepdim=True), X.std(-1, keepdim=True)
LAYER = (X - MEAN) / (DEVIATION + 1e-5)
LENGTH = X.norm(dim=-1, keepdim=True) / D_IN**0.5


def gated(z):
    return torch.where(z + B_ENC > 0, (R_MAG.exp() * z + B_MAG).relu(), 0)


def agree(found, acts, W_dec, target=None):
    """Codes agree up to decoder norms, which ours take into the activation; reconstructions agree as they are."""
    check_dictionary(found.dictionary)
    torch.testing.assert_close(found.dictionary.encode(X), acts * W_dec.norm(dim=-1), rtol=1e-4, atol=1e-5)
    target = acts @ W_dec + B_DEC if target is None else target
    torch.testing.assert_close(found.dictionary(X), target, rtol=1e-4, atol=1e-5)
    assert 0 < int((acts != 0).sum()) < acts.numel()


D_OUT = 6
W_OUT, B_OUT = numbers(D_SAE, D_OUT, seed=11), numbers(D_OUT, seed=13)
UNIT_OUT = W_OUT / W_OUT.norm(dim=-1, keepdim=True)
W_SKIP = 0.5 * numbers(D_OUT, D_IN, seed=17)
W_SQUARE = 0.5 * numbers(D_IN, D_IN, seed=19)


def changed(dictionary):
    """A new dictionary moved off its starting values, and folded."""
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.2 * numbers(*parameter.shape, seed=1)
        if "threshold" in dictionary.state_dict():
            dictionary.threshold.abs_().add_(0.1)
    dictionary.fold([1.3], [1.3 if dictionary.is_autoencoder else 0.7])
    return dictionary
