"""Text in which a process of two states runs now and then, and latents that are active on its states."""

import numpy as np
from scipy.sparse import csr_matrix

from sparselex.atlas.automata.stream import Stream

N_VOCAB, N_TOKENS = 30, 120
FIRST, SECOND = (1, 2, 3), (4, 5, 6)
"""Tokens of either state; all others are noise."""

N_LATENTS = 12
"""Latents 0 and 1 are active on the states, 2 is 0 again on another scale, the others each on a noise token."""


def text(n_documents: int, seed: int, *, shuffled: bool = False) -> np.ndarray:
    """`[n_documents, N_TOKENS]`: runs of both states in turn, between them noise; shuffled within documents."""
    rng = np.random.default_rng(seed)
    found = rng.integers(7, N_VOCAB, (n_documents, N_TOKENS))
    for row in found:
        for start in range(0, N_TOKENS, 20):
            if rng.random() < 0.5:
                run = [rng.choice(FIRST if place % 2 else SECOND) for place in range(20)]
                row[start : start + 20] = run
    return rng.permuted(found, axis=1) if shuffled else found


def raised() -> np.ndarray:
    """`[N_LATENTS, 3]`, tokens that each latent raises: those of the other state, or some others."""
    rng = np.random.default_rng(7)
    others = [sorted(rng.choice(np.arange(7, N_VOCAB), 3, replace=False)) for _ in range(N_LATENTS - 3)]
    return np.array([SECOND, FIRST, SECOND, *others])


def acts_on(tokens: np.ndarray, seed: int) -> np.ndarray:
    """`[n, N_LATENTS]`, activations on tokens: a latent has its tokens, whatever stands before them."""
    rng = np.random.default_rng(seed)
    own = [FIRST, SECOND, FIRST, *((7 + number,) for number in range(N_LATENTS - 3))]
    scale = np.array([1.0, 5.0, 0.01] + [1.0] * (N_LATENTS - 3))
    there = np.stack([np.isin(tokens, one) for one in own], axis=1)
    return there * scale * (0.5 + rng.random(there.shape)) * (rng.random(there.shape) < 0.9)


def stream(n_documents: int, seed: int, *, shuffled: bool = False) -> Stream:
    """The text as a stream of the latents' activations."""
    tokens = text(n_documents, seed, shuffled=shuffled).reshape(-1)
    documents = np.repeat(np.arange(n_documents), N_TOKENS)
    goes_on = np.append(documents[1:] == documents[:-1], False)
    by_token = csr_matrix(acts_on(tokens, seed).astype(np.float32))
    return Stream(tokens.astype(np.int64), documents, goes_on, by_token.T.tocsr(), by_token)
