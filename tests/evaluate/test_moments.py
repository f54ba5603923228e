"""What controls are made from: all of the training split, in whatever order its documents come."""

import numpy as np
import pytest
import torch

from sparselex.activations.live import Reader, spread
from sparselex.base.sites import Sites
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.evaluate import moments as room
from sparselex.evaluate.core import core_sums
from sparselex.evaluate.core_figures import core_figures
from sparselex.evaluate.moments import moments, training_rows, training_sample
from sparselex.evaluate.subjects import Itself
from sparselex.lm.load import load_model
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.documents import Document

HOOK = "blocks.0.mlp.hook_post"


def reader_of(corpus):
    return Reader(load_model("embedded"), corpus, Sites.at(HOOK), batch_rows=4)


@pytest.fixture(scope="module")
def reader(small_index):
    return reader_of(small_index.corpus)


@pytest.mark.parametrize("n_rows", [None, 17])
def test_they_equal_numpy(reader, n_rows):
    x = reader.read(training_rows(reader, n_rows)).x.double().numpy()
    mean, covariance = moments(reader, n_rows)[:2]
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False, bias=True), rtol=1e-4, atol=1e-5)


def test_rows_come_from_everywhere_and_a_sample_is_bounded(reader, monkeypatch):
    train = reader.corpus.row_ranges["train"]
    rows = training_rows(reader, 10)
    assert rows[0] == train.start and rows[-1] == train.stop - 1 and np.ptp(np.diff(rows)) <= 1
    assert len(training_rows(reader, None)) == len(training_rows(reader, 10**6)) == len(train)
    monkeypatch.setattr(room, "SAMPLE_TOKENS", 5 * reader.corpus.n_ctx)
    assert torch.equal(training_sample(reader, None), reader.read(spread(train, 5)).x)
    assert torch.equal(training_sample(reader, 3), reader.read(spread(train, 3)).x)


KINDS = {
    "code": "def total(items, start=0):\n    for item in items:\n        start += item.value\n    return start\n\n\n",
    "prose": "The river rose in the night, and in the morning the miller found his boat on the road. ",
    "table": "12.5, 17, 0.003, -4, 88\n9, 1, 45.25, 3.5, -0.75\n",
}


def corpus_of(documents, to):
    model = load_model("embedded")
    config = CorpusConfig(source=str(to), n_ctx=64)
    return build_corpus(documents, model.tokenizer, config, to, text_id=str(to))


def test_controls_do_not_change_with_the_order_of_documents(tmp_path):
    """A text that begins with code and ends with tables, and the same from its end: the first rows of the two have
    little in common, and what is taken for its moments must."""
    documents = [Document(f"{kind}-{n}", text * 30 + str(n)) for kind, text in KINDS.items() for n in range(30)]
    readers = [reader_of(corpus_of(part, tmp_path / str(n))) for n, part in enumerate((documents, documents[::-1]))]
    rows = readers[0].corpus.row_ranges["test"]

    def fvu(reader, rows_of_moments):
        at = moments(reader, rows_of_moments)
        pca = principal_components(at.mean, at.covariance, 4)
        sums = core_sums(readers[0], {"pca": Itself(pca)}, at.mean, np.array(rows))
        return next(f.value for f in core_figures(sums["pca"][0]) if f.name == "core/fvu")

    n_train = len(readers[0].corpus.row_ranges["train"])
    everything = [fvu(reader, None) for reader in readers]
    assert everything[0] == pytest.approx(everything[1], rel=1e-3)
    assert fvu(readers[0], n_train // 6) == pytest.approx(fvu(readers[1], n_train // 6), rel=0.02)
    first = [moments_of_first(reader, n_train // 6) for reader in readers]
    assert not torch.allclose(*first, rtol=0.1), "this text would not show it"


def moments_of_first(reader, n_rows):
    """The mean over the first rows of the training split."""
    return reader.read(np.array(reader.corpus.row_ranges["train"])[:n_rows]).x.mean(0)
