"""The vocabulary of a model's tokenizer, without its weights."""

import transformers

from sparselex.base.errors import UserError
from sparselex.base.vocabulary import Vocabulary
from sparselex.lm.gguf import dequantised
from sparselex.lm.named import is_gguf, local
from sparselex.lm.quiet import quiet
from sparselex.lm.tokenizer import ModelTokenizer


def vocabulary_of(name: str, *, only_here: bool = False) -> Vocabulary:
    """The bytes of every token of the model called `name`, as `load_model` understands it.

    With `only_here` no hub is asked, and no path is followed: the name may be a stranger's. Raises `UserError` for one
    that cannot be had.
    """
    try:
        found = None if only_here and not _is_plain(name) else local(name)
        if found is None and only_here and (not name or not _is_plain(name)):
            raise ValueError("it is no name")
        where = str(dequantised(found) if found is not None and is_gguf(found) else found or name)
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                where, local_files_only=only_here or found is not None
            )
        return ModelTokenizer(tokenizer).vocabulary
    except UserError:
        raise
    except Exception as error:  # a door: the library raises many kinds, all meaning "this cannot be loaded"
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"The tokenizer of {name!r} cannot be had: {reason}",
            "a model on this machine, or a reachable Hugging Face name",
            "name the tokenizer with --tokenizer; with `none` tokens are shown as their numbers.",
        ) from None


def _is_plain(name: str) -> bool:
    """Whether it can only be a name, and no path that leads anywhere."""
    return not name.startswith((".", "/", "~", "\\")) and ".." not in name and name.count("/") <= 1
