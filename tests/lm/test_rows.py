"""A text that is typed has the tokens of a corpus' row of it, whoever reads it."""

import subprocess
import sys

import numpy as np
import pytest

from sparselex.base.bos import bos_of
from sparselex.base.errors import UserError
from sparselex.lm.load import load_model
from sparselex.lm.pair import ModelPair
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.documents import Document

TEXT = "def f(x):\n    return  '<|endoftext|>' + x"


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.mark.parametrize("bos", ["auto", "always", "never"])
@pytest.mark.parametrize("adds", [True, False])
def test_a_text_is_a_row_of_a_corpus(model, monkeypatch, tmp_path, adds, bos):
    """By either kind of tokenizer and every rule, of one model and of two side by side."""
    monkeypatch.setattr(model.tokenizer, "adds_bos", adds)
    config = CorpusConfig(source="typed", n_ctx=32, layout="prompts", bos=bos, shares=(1, 0, 0))
    corpus = build_corpus([Document("typed", TEXT)], model.tokenizer, config, tmp_path / "corpus")
    n_tokens = int(corpus.text_mask(range(1)).sum()) + (corpus.bos_id is not None)
    expected = np.asarray(corpus.tokens[0])[:n_tokens].tolist()
    assert model.tokens(TEXT, bos=bos).tolist() == [expected]
    assert ModelPair(model, model).tokens(TEXT, bos=bos).tolist() == [expected]
    assert (expected[0] == model.tokenizer.bos_id) == (bos == "always" or (bos == "auto" and adds))
    assert bos != "auto" or model.tokens(TEXT).tolist() == [expected]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "The prompt has no tokens"), ("x " * 5000, "at most 256")],
)
def test_what_is_no_row_is_refused(model, text, said):
    with pytest.raises(UserError, match=said):
        model.tokens(text)


@pytest.mark.slow
def test_what_is_no_text_is_refused():
    """In a process of its own: in this one the types of arguments are checked before anything is looked at."""
    code = "from sparselex import load_model\nmodel = load_model('embedded')\n"
    code += "for text in (['a', 'b'], b'abc', None):\n    try:\n        model.tokens(text)\n"
    code += "    except Exception as error:\n        print(type(error).__name__, error)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count("UserError") == said.count("one text at a time") == 3
    assert "given is a list." in said and "given is a NoneType." in said


def test_a_rule_that_there_is_not_is_refused(model):
    with pytest.raises(UserError, match="auto, always or never"):
        bos_of(model.tokenizer, "sometimes")
