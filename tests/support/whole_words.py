"""A tokenizer to which every word is one token, the space before it with it."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparselex.lm.tokenizer import ModelTokenizer

UNKNOWN = "<|endoftext|>"


def whole_words(texts: Iterable[str]) -> ModelTokenizer:
    """Knows the words of some texts, and no others."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = sorted({piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)})
    vocabulary = {UNKNOWN: 0} | {piece: number + 1 for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    return ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=UNKNOWN))
