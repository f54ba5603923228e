"""A small corpus of the standard library for benchmarks."""

import tempfile
from pathlib import Path

from sparselex.lm.subject import SubjectModel
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from sparselex.text.sources import load_documents


def small_corpus(model: SubjectModel, n_tokens: int) -> TokenCorpus:
    """Rows of 128 tokens, in a folder of the system's temporary space."""
    config = CorpusConfig(source="stdlib", n_ctx=128, n_tokens=n_tokens)
    folder = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-"))
    return build_corpus(load_documents("stdlib"), model.tokenizer, config, folder / "corpus")
