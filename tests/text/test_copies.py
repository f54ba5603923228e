"""Near copies never cross the split, what is merely alike goes its own way, and the notes say what was found."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.base.errors import UserError
from sparselex.text.build import build_corpus, text_of
from sparselex.text.config import CorpusConfig
from sparselex.text.copies import Copies
from sparselex.text.corpus import TokenCorpus
from sparselex.text.documents import Document
from sparselex.text.records import Division
from sparselex.text.shingles import WIDTH, shingles
from sparselex.text.splits import SPLITS, split_of
from sparselex.text.spool import Spool
from sparselex.text.windows import copied
from tests.text.test_corpus import TOKENIZERS

PARTS = ("ka", "lo", "mi", "ter", "su", "ne", "val", "ri", "do", "pe")
WORDS = [first + second + third for first in PARTS for second in PARTS for third in PARTS]
LICENCE = "# " + " ".join(random.Random(7).choices(WORDS, k=180)) + "\n\n"
"""About a thousand bytes."""


def prose(seed: int, n_words: int = 500) -> str:
    """Lines of words, no two texts alike."""
    words = random.Random(seed).choices(WORDS, k=n_words)
    return "".join(" ".join(words[start : start + 8]) + "\n" for start in range(0, n_words, 8))


def edited(text: str, seed: int) -> str:
    """The same with one line in twenty replaced."""
    lines, drawn = text.splitlines(keepends=True), random.Random(seed)
    return "".join(prose(seed + number, 8) if drawn.random() < 0.05 else line for number, line in enumerate(lines))


PLANTED = {
    "under another name": lambda text, n: text,
    "with another header": lambda text, n: f"# Copyright {prose(9000 + n, 40)}\n{text}",
    "with small edits": lambda text, n: edited(text, 1000 * n + 9000),
    "with blanks": lambda text, n: f"\n\n{text}  \n",
    "within a longer one": lambda text, n: prose(9000 + n, 400) + text + prose(9500 + n, 400),
    "shortened": lambda text, n: text[: int(len(text) * 0.6)],
}


def groups_of(texts, **options):
    copies = Copies(**options)
    for text in texts:
        copies.add(text)
    return copies.groups()


def partition(texts, groups):
    """Which texts go together, whatever the order in which they were taken."""
    together = {}
    for text, group in zip(texts, groups, strict=True):
        together.setdefault(int(group), set()).add(text)
    return {frozenset(group) for group in together.values()}


def corpus_of(documents, folder, name="corpus", **options):
    config = CorpusConfig(source="memory", **{"n_ctx": 64, **options})
    return build_corpus(documents, TOKENIZERS[True], config, folder / name, text_id="planted")


@pytest.mark.parametrize("how", PLANTED)
def test_a_planted_copy_never_crosses_the_split(how, tmp_path):
    originals = [Document(f"original-{n}", prose(n)) for n in range(40)]
    copies = [Document(f"copy-{n}", PLANTED[how](document.text, n)) for n, document in enumerate(originals)]
    alone = corpus_of([*originals, *copies], tmp_path, "alone", copies="apart").split_of_documents
    assert (alone[:40] != alone[40:]).sum() > 5  # each by its own name they do cross
    corpus = corpus_of([*originals, *copies], tmp_path)
    assert (corpus.split_of_documents[:40] == corpus.split_of_documents[40:]).all()
    found = Division.parse(corpus.manifest.notes["division"])
    assert (found.copies, found.groups, found.largest_group) == (80, 40, 2)
    assert found.windows > 1000 and found.windows_in_train == 0


def test_a_text_repeated_under_many_names_has_one_split(tmp_path):
    """However many: each has a header of its own, so that no two are equal."""
    repeated = [Document(f"r{n}", f"# {prose(2000 + n, 30)}\n{prose(0)}") for n in range(120)]
    corpus = corpus_of([*repeated, *(Document(f"d{n}", prose(100 + n)) for n in range(60))], tmp_path)
    assert len(set(corpus.split_of_documents[:120].tolist())) == 1
    assert len(set(corpus.split_of_documents[120:].tolist())) == 3
    assert corpus.manifest.notes["division"]["largest_group"] == 120


@pytest.mark.parametrize("n", [3, 12, 25, 90])
def test_a_common_licence_makes_no_copies(n):
    texts = [LICENCE + prose(n, 300) for n in range(n)]
    assert len(set(groups_of(texts))) == n


def test_the_licence_alone_ties_nothing_together():
    texts = [LICENCE, *(LICENCE + prose(n, 300) for n in range(90))]
    assert len(set(groups_of(texts))) == len(texts)


def test_short_texts_are_copies_only_if_equal():
    texts = [f"def f(x):\n    return x + {n}\n" for n in range(30)]
    assert len(set(groups_of(texts))) == 30
    groups = groups_of([*texts, texts[3] + "\n\n"])
    assert groups[-1] == groups[3] and len(set(groups)) == 30


def test_weak_likeness_does_not_chain():
    """Each shares a quarter with the next one."""
    parts = [prose(n, 400) for n in range(31)]
    texts = [parts[n][-600:] + prose(500 + n, 200) + parts[n + 1][:600] for n in range(30)]
    chained = [parts[n] + parts[n + 1][: len(parts[n + 1]) // 3] for n in range(30)]
    assert len(set(groups_of(texts))) == len(set(groups_of(chained))) == 30


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(24)), most=st.sampled_from([2**21, 700]))
def test_the_order_of_reading_does_not_matter(order, most):
    texts = [prose(0), *(make(prose(n), n) for n, make in enumerate(PLANTED.values()))]
    texts += [make(prose(7), n) + prose(50 + n, 30) for n, make in enumerate(PLANTED.values())]
    texts += [LICENCE + prose(60 + n, 200) for n in range(11)]
    wanted = partition(texts, groups_of(texts, most=most))
    shuffled = [texts[number] for number in order]
    assert partition(shuffled, groups_of(shuffled, most=most)) == wanted


def test_memory_is_bounded_and_long_copies_are_still_found():
    copies = Copies(most=2000)
    texts = [prose(n, 4000) for n in range(30)]
    for text in [*texts, *(edited(text, 5) for text in texts)]:
        copies.add(text)
        assert copies._n_kept <= 2000 and copies._n_pending < 2**16
    groups = copies.groups()
    assert copies.scale > 16 and copies._n_kept <= 2000
    assert (groups[:30] == groups[30:]).all() and len(set(groups)) == 30


@settings(deadline=None, max_examples=40)
@given(data=st.binary(min_size=WIDTH, max_size=300))
def test_a_shingle_is_told_by_its_bytes_alone(data):
    found = shingles(data)
    pieces = [data[start : start + WIDTH] for start in range(len(data) - WIDTH + 1)]
    assert found.tolist() == [int(shingles(piece)[0]) for piece in pieces]
    assert len(set(found.tolist())) == len(set(pieces))


def test_one_shingle_in_sixteen_is_kept():
    found = shingles(prose(1, 60_000).encode())
    share = (found < np.uint64(2**60)).mean()
    assert abs(share - 1 / 16) < 0.002


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_windows_are_those_of_a_slow_count(lengths, seed, tmp_path_factory):
    drawn = random.Random(seed)
    documents = [[drawn.randrange(2) if n % 3 else 1 for _ in range(length)] for n, length in enumerate(lengths)]
    spool = Spool(tmp_path_factory.mktemp("spool") / "s", np.uint16)
    for ids in documents:
        spool.add(ids)
    spool.close()
    at = np.array([drawn.randrange(3) for _ in documents])
    windows = lambda split: [
        tuple(ids[start : start + 32])
        for ids, place in zip(documents, at, strict=True)
        for start in range(len(ids) - 31)
        if place == split
    ]
    train = set(windows(0))
    assert copied(spool, at == 2, at == 0) == (len(windows(2)), sum(window in train for window in windows(2)))


def test_the_same_text_gives_the_same_bytes(tmp_path):
    documents = [Document(f"d{n}", prose(n % 45)) for n in range(60)]
    made = [corpus_of(documents, tmp_path, name) for name in ("a", "b")]
    assert made[0].id == made[1].id and made[0].manifest.files == made[1].manifest.files
    assert not {"spool", "train.tokens"} & {path.name for path in made[0].path.iterdir()}
    kept = [Document(f"d{n}", prose(n)) for n in range(60)]  # without copies, each is drawn by its name as ever
    corpus = corpus_of(kept, tmp_path, "kept")
    assert [SPLITS[n] for n in corpus.split_of_documents] == [split_of(d.name, (0.8, 0.1, 0.1), 0) for d in kept]
    assert corpus.manifest.notes["division"]["copies"] == 0


def test_prompts_are_alike_by_nature(tmp_path):
    shots = " ".join(random.Random(1).choices(WORDS, k=90))
    documents = [Document(f"p{n}", f"{shots} {WORDS[n % 40]}") for n in range(80)]
    corpus = corpus_of(documents, tmp_path, layout="prompts", n_ctx=1024)
    assert (corpus.split_of_documents[:40] == corpus.split_of_documents[40:]).all()
    assert set(corpus.split_of_documents.tolist()) == {0, 1, 2}


def test_nothing_but_copies_cannot_be_divided(tmp_path):
    documents = [Document(f"d{n}", prose(0)) for n in range(60)]
    with pytest.raises(UserError, match=r"None of the 60 documents(?s:.*)beside copies of each other"):
        corpus_of(documents, tmp_path)


def test_a_corpus_of_an_earlier_version_is_what_it_was(tmp_path):
    """It says nothing of copies, and is opened and recognised as made without looking for them."""
    documents = [Document(f"d{n}", prose(n % 40)) for n in range(60)]
    corpus = corpus_of(documents, tmp_path, copies="apart")
    assert not {"copies", "held_out"} & corpus.manifest.config.keys()
    assert TokenCorpus(corpus.path).config == CorpusConfig(source="memory", n_ctx=64, copies="apart")
    assert corpus.manifest.notes["division"]["copies"] is None
    of = lambda config: text_of(corpus.path, TOKENIZERS[True], config)
    assert of(corpus.config) == "planted" and of(corpus.config.model_copy(update={"copies": "together"})) is None
