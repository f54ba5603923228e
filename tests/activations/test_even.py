"""Which test rows are looked at: many documents rather than much of a few."""

import numpy as np
import pytest

from sparselex.activations.even import even_rows


def corpus(sizes, n_ctx=8, first=5):
    """Whose the tokens of rows are, of documents with so many rows each, and these rows, behind `first` others."""
    owners = np.repeat(np.arange(len(sizes)), sizes)
    documents = np.concatenate([np.zeros(first, dtype=int), owners])[:, None].repeat(n_ctx, 1)
    return documents.astype(np.int32), range(first, first + len(owners))


def test_a_long_document_gives_twice_its_even_share_at_most():
    text = corpus([500, *[3] * 50])
    rows = even_rows(*text, 102)
    counts = np.bincount(text[0][rows, 0], minlength=51)
    assert 2 <= counts[0] <= 4 and counts.sum() <= 102 and (counts[1:] > 0).sum() >= 48
    assert (np.diff(rows) > 0).all() and rows.min() >= 5


def test_long_documents_are_cut_to_what_is_there_and_not_to_what_is_asked():
    """Fewer rows than asked for: the cap is twice an even share of those that are left, short documents that share
    rows counted."""
    sizes = [60] * 4 + [1] * 20
    rows = even_rows(*corpus(sizes), 600)
    counts = np.bincount(corpus(sizes)[0][rows, 0], minlength=24)
    assert counts.max() <= max(1, 2 * counts.sum() / 24) and (counts > 0).all()
    documents, there = corpus([60] * 4)
    documents[there[:3]] = np.arange(100, 124).reshape(3, 8)  # three rows with eight documents each
    found = even_rows(documents, there, 600)
    assert max(np.bincount(documents[found, 0])[:4]) <= 2


def test_where_documents_are_few_nothing_is_lost():
    text = corpus([40, 20, 30])
    assert even_rows(*text, 600).tolist() == list(text[1])
    assert len(even_rows(*text, 30)) == 30


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_never_more_than_asked(n):
    rows = even_rows(*corpus([1] * 60), n)
    assert len(rows) == min(n, 60) and len(set(rows)) == len(rows)


def test_rows_without_text_and_no_rows():
    documents, rows = corpus([3])
    assert len(even_rows(np.full_like(documents, -1), rows, 10)) == 3 and len(even_rows(*corpus([]), 10)) == 0
