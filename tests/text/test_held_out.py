"""Where it is known what the model has learned, nothing of that is in test."""

import pytest

from sparselex.base.errors import UserError
from sparselex.text.config import CorpusConfig, HeldOutDocuments
from sparselex.text.documents import Document
from sparselex.text.splits import SPLITS, divided, is_held_out
from tests.text.test_copies import corpus_of, prose

HELD_OUT = HeldOutDocuments(share=0.25, seed=3)
CONFIG = CorpusConfig(source="memory", held_out=HELD_OUT)
NAMES = [f"d{n}" for n in range(4000)]


def test_what_was_held_out_is_test_and_nothing_else_is():
    splits = divided(NAMES, range(len(NAMES)), CONFIG)
    assert all((split == "test") == is_held_out(name, HELD_OUT) for name, split in zip(NAMES, splits, strict=True))
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    assert shares == pytest.approx([0.75 * 8 / 9, 0.75 / 9, 0.25], abs=0.02)


def test_the_other_splits_are_drawn_anew():
    """By a draw of its own: with the seed by which the model's were held out, there would be no validation left."""
    same = CONFIG.model_copy(update={"held_out": HELD_OUT.model_copy(update={"seed": CONFIG.seed})})
    splits = divided(NAMES, range(len(NAMES)), same)
    assert splits.count("validation") / len(splits) == pytest.approx(0.75 / 9, abs=0.02)


def test_a_copy_of_what_was_learned_is_no_test():
    held = [name for name in NAMES if is_held_out(name, HELD_OUT)][:100]
    learned = [name for name in NAMES if not is_held_out(name, HELD_OUT)][:100]
    splits = divided([*held, *learned], [*range(100), *range(50), *range(100, 150)], CONFIG)
    assert splits[:50] == splits[100:150] and "test" not in splits[:50]
    assert splits[50:100] == ["test"] * 50


def test_held_out_documents_are_taken_beyond_the_limit(tmp_path):
    """Until they are test's share of it: of a tenth of the documents there would be too few for any figure."""
    held_out = HeldOutDocuments(share=0.05, seed=0)
    documents = [Document(f"m{n}", prose(n, 120)) for n in range(400)]
    known = [document.name for document in documents if is_held_out(document.name, held_out)]
    whole = corpus_of(documents, tmp_path, "whole").manifest.notes["n_tokens"]
    for share, name in ((0.5, "half"), (0.05, "little")):
        wanted = int(whole * share)
        corpus = corpus_of(documents, tmp_path, name, n_tokens=wanted, held_out=held_out)
        notes = corpus.manifest.notes
        test = [name for name, split in zip(corpus.names, corpus.split_of_documents, strict=True) if split == 2]
        assert test == known[: len(test)]
        assert set(corpus.names) - set(test) <= {document.name for document in documents[: int(400 * share) + 2]}
        assert wanted <= notes["n_tokens"] < 1.12 * wanted + whole / 100
        assert notes["division"]["test_tokens"] >= 0.1 * wanted or test == known
        assert notes["division"]["learned_test_tokens"] == 0


def test_without_knowledge_the_notes_say_so(tmp_path):
    corpus = corpus_of([Document(f"m{n}", prose(n, 60)) for n in range(60)], tmp_path)
    assert corpus.manifest.notes["division"]["learned_test_tokens"] is None


@pytest.mark.parametrize("values", [{"share": 0.0, "seed": 0}, {"share": 1.0, "seed": 0}, {"share": 0.1}])
def test_an_impossible_draw(values):
    with pytest.raises(UserError):
        CorpusConfig.parse({"source": "x", "held_out": values})


def test_what_was_learned_goes_somewhere():
    with pytest.raises(UserError, match="some must go to train"):
        CorpusConfig.parse({"source": "x", "shares": (0, 0, 1), "held_out": {"share": 0.1, "seed": 0}})
