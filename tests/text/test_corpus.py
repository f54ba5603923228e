"""The token corpus: every byte comes back, no row mixes splits, every position knows its document."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from sparselex.base.errors import UserError
from sparselex.base.vocabulary import Vocabulary
from sparselex.text.build import build_corpus, text_of
from sparselex.text.config import CorpusConfig, as_kept
from sparselex.text.corpus import TokenCorpus
from sparselex.text.documents import Document
from sparselex.text.rows import TokenRows, split_positions
from sparselex.text.splits import SPLITS, split_of

NASTY = [
    "héllo 🤷🏽‍♀️ wörld",
    "العربية עברית हिन्दी",
    "日本語\n\r\n\ttabs\x00nul",
    "<|endoftext|> is text",
    " lead",
    "𝔘𝔫𝔦",
]


class ByteBPE:
    """A real byte-level BPE tokenizer, trained here; the smallest thing that satisfies the protocol."""

    id = "byte-bpe"
    eos_id = pad_id = 0

    def __init__(self, bos: bool):
        self.bos_id, self.adds_bos = (0, True) if bos else (None, False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        self._tokenizer = HFTokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        self._tokenizer.train_from_iterator(
            NASTY, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
        )
        table = {c: b for b, c in enumerate(_byte_characters())}
        ids = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        self.vocabulary = Vocabulary([b"<end>", *(bytes(table[c] for c in token) for token, _ in ids)], [0])

    def encode_batch(self, texts):
        return [[i + 1 for i in e.ids] for e in self._tokenizer.encode_batch(texts)]


def _byte_characters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(extra)) for b in range(256)]


TOKENIZERS = {bos: ByteBPE(bos) for bos in (False, True)}


def corpus_of(texts, tmp_path, *, bos=True, n_ctx=7, **options):
    documents = [Document(f"d{number}", text) for number, text in enumerate(texts)]
    config = CorpusConfig(source="memory", n_ctx=n_ctx, **{"shares": (1, 0, 0), **options})
    return build_corpus(documents, TOKENIZERS[bos], config, tmp_path / "corpus", text_id=repr(texts))


@pytest.mark.parametrize("bos", [False, True])
def test_documents_come_back_byte_for_byte(tmp_path, bos):
    corpus = corpus_of(NASTY * 5, tmp_path, bos=bos)
    assert [corpus.document_bytes(d) for d in range(corpus.n_documents)] == [t.encode() for t in NASTY * 5]


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=6), n_ctx=st.integers(2, 9))
def test_any_text_comes_back(tmp_path_factory, texts, n_ctx):
    texts = [text.encode("utf-8", "ignore").decode() or "x" for text in texts]  # lone surrogates are no text
    corpus = corpus_of(texts, tmp_path_factory.mktemp("any"), n_ctx=n_ctx)
    assert [corpus.document_bytes(d).decode() for d in range(len(texts))] == texts


def test_of_a_corpus_that_is_there_no_document_is_asked_for(tmp_path):
    """A dataset would be fetched for that; and what cannot be read leaves nothing behind."""

    def unreachable():
        raise ConnectionError("no network")
        yield

    made = corpus_of(NASTY, tmp_path)
    given = TOKENIZERS[True], made.config
    kept = build_corpus(unreachable(), *given, tmp_path / "corpus", text_id=repr(NASTY))
    assert kept.id == made.id and text_of(tmp_path / "corpus", *given) == repr(NASTY)
    with pytest.raises(ConnectionError):
        build_corpus(unreachable(), *given, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    other = made.config.model_copy(update={"n_ctx": 9})
    assert text_of(tmp_path / "corpus", TOKENIZERS[True], other) is None
    assert text_of(tmp_path / "other", *given) is None


def test_rows_never_mix_splits_and_splits_are_by_document(tmp_path):
    corpus = corpus_of([f"{n} {NASTY[n % 6]}" for n in range(200)], tmp_path, shares=(0.6, 0.2, 0.2))
    owners = np.asarray(corpus.documents)
    for number, split in enumerate(SPLITS):
        rows = owners[corpus.row_ranges[split].start : corpus.row_ranges[split].stop]
        inside = set(rows[rows >= 0].tolist())
        assert inside == set(np.flatnonzero(corpus.split_of_documents == number).tolist()) and len(inside) > 20
    assert sum(len(rows) for rows in corpus.row_ranges.values()) == corpus.n_rows


def test_only_text_is_owned_and_rows_start_with_bos(tmp_path):
    corpus = corpus_of(NASTY, tmp_path)
    mask = corpus.text_mask(range(corpus.n_rows))
    assert not mask[:, 0].any() and (np.asarray(corpus.tokens)[:, 0] == 0).all()
    assert not np.isin(np.asarray(corpus.tokens)[mask], list(corpus.special_ids)).any()
    n_text = sum(len(ids) for ids in TOKENIZERS[True].encode_batch(NASTY))
    assert mask.sum() == n_text == corpus.manifest.notes["n_tokens"]


class Unasked(ByteBPE):
    """A tokenizer with a BOS that it does not itself put before a text."""

    def __init__(self):
        super().__init__(bos=True)
        self.adds_bos = False


@pytest.mark.parametrize("layout", ["packed", "prompts"])
@pytest.mark.parametrize(
    ("tokenizer", "bos", "begins"),
    [
        (TOKENIZERS[True], "auto", True),
        (TOKENIZERS[True], "always", True),
        (TOKENIZERS[True], "never", False),
        (TOKENIZERS[False], "auto", False),
        (TOKENIZERS[False], "always", False),
        (Unasked(), "auto", False),
        (Unasked(), "always", True),
        (Unasked(), "never", False),
    ],
)
def test_rows_begin_with_bos_as_it_is_asked_for(tmp_path, tokenizer, bos, begins, layout):
    config = CorpusConfig(source="memory", n_ctx=64, shares=(1, 0, 0), bos=bos, layout=layout)
    corpus = build_corpus([Document(text, text) for text in NASTY], tokenizer, config, tmp_path / "corpus")
    assert [corpus.document_bytes(number).decode() for number in range(len(NASTY))] == NASTY
    assert corpus.bos_id == (0 if begins else None)
    column = corpus.text_mask(range(corpus.n_rows))[:, 0]
    assert not column.any() if begins else column[0]


def test_a_corpus_of_before_the_bos_was_a_choice_began_every_row_with_it(tmp_path):
    config = CorpusConfig(source="memory", bos="always")
    assert "bos" not in config.to_json() and CorpusConfig.parse(as_kept(config.to_json())) == config.model_copy(
        update={"copies": "together"}
    )
    assert CorpusConfig(source="memory").to_json()["bos"] == "auto"


PROMPTS = [
    Document("plain", "Ann gave Bob a rose"),
    Document("roles", "日本 likes 🤷🏽‍♀️ a lot", {"who": [0, 2], "what": (9, 14), "none": None}),
    Document("again", "Bob left", {"who": [0, 3], "verb": [4, 8]}),
]


def prompts(documents, to, **options):
    config = CorpusConfig(source="memory", layout="prompts", **{"n_ctx": 64, "shares": (1, 0, 0), **options})
    return build_corpus(documents, TOKENIZERS[True], config, to / "prompts", text_id=repr(documents))


def test_prompts_stand_one_a_row_and_are_padded_behind(tmp_path):
    corpus = prompts(PROMPTS, tmp_path)
    assert isinstance(corpus, TokenRows) and corpus.n_rows == len(PROMPTS)
    for number, document in enumerate(PROMPTS):
        text = corpus.text_mask(range(corpus.n_rows))[number]
        n = int(text.sum())
        assert text[1 : n + 1].all() and not text[0] and not text[n + 1 :].any()
        assert corpus.document_bytes(number) == document.text.encode()
        assert (np.asarray(corpus.tokens[number, n + 1 :]) == corpus.pad_id).all()
    n_text = corpus.manifest.notes["n_tokens"]
    assert corpus.n_padding == {"train": 3 * 63 - n_text, "validation": 0, "test": 0}
    assert split_positions(corpus, "train") == range(3 * 64)


def test_roles_are_the_tokens_that_cover_them(tmp_path):
    corpus = prompts(PROMPTS, tmp_path)
    assert corpus.roles(0) == {} and set(corpus.roles(1)) == {"who", "what"}
    for row in (1, 2):
        text = PROMPTS[row].text
        for name, columns in corpus.roles(row).items():
            start, end = PROMPTS[row].roles[name]
            tokens = [corpus.vocabulary.token_bytes(int(corpus.tokens[row, column])) for column in columns]
            covered, wanted = b"".join(tokens), text[start:end].encode()
            assert wanted in covered
            # No token too many: without its first or its last the part is no longer whole.
            assert wanted not in b"".join(tokens[1:]) and wanted not in b"".join(tokens[:-1])
            before = b"".join(corpus.vocabulary.token_bytes(int(t)) for t in corpus.tokens[row, 1 : columns.start])
            assert text.encode().startswith(before + covered)


def test_roles_follow_their_rows_through_the_splits(tmp_path):
    documents = [Document(f"d{n}", f"number {n} here", {"n": [7, 7 + len(str(n))]}) for n in range(60)]
    corpus = prompts(documents, tmp_path, shares=(0.5, 0.25, 0.25))
    for row in range(corpus.n_rows):
        (document,) = set(corpus.documents[row].tolist()) - {-1}
        columns = corpus.roles(row)["n"]
        said = corpus.vocabulary.decode(corpus.tokens[row, columns.start : columns.stop].tolist())
        assert str(document) in said and corpus.names[document] == f"d{document}"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (Document("too-long", "x y z " * 50), "prompt 'too-long' has .* a row holds 63"),
        (Document("end", "abc", {"a": [1, 9]}), "prompt 'end' has the roles"),
        (Document("empty", "abc", {"a": [1, 1]}), "between 0 and 3"),
        (Document("list", "abc", ["a"]), "prompt 'list' has the roles"),
        (Document("float", "abc", {"a": [0.0, 1.0]}), "prompt 'float'"),
    ],
)
def test_prompts_that_do_not_fit_are_named(tmp_path, document, words):
    with pytest.raises(UserError, match=words):
        prompts([PROMPTS[0], document], tmp_path)
    assert not (tmp_path / "prompts").exists()


def test_a_packed_corpus_leaves_roles_alone(tmp_path):
    config = CorpusConfig(source="memory", n_ctx=7, shares=(1, 0, 0))
    corpus = build_corpus([Document("a", "one two", "junk")], TOKENIZERS[True], config, tmp_path / "c")
    assert corpus.roles(0) == {}


def test_the_split_of_a_document_does_not_depend_on_the_others():
    shares = (0.8, 0.1, 0.1)
    draws = [split_of(f"d{n}", shares, 0) for n in range(5000)]
    assert [split_of(f"d{n}", shares, 0) for n in range(10)] == draws[:10]
    assert [split_of(f"d{n}", shares, 1) for n in range(50)] != draws[:50]
    assert abs(draws.count("train") / 5000 - 0.8) < 0.02 and abs(draws.count("test") / 5000 - 0.1) < 0.02


def test_stops_after_the_document_that_reaches_n_tokens(tmp_path):
    corpus = corpus_of(["some words"] * 50, tmp_path, n_tokens=40)
    per_document = len(TOKENIZERS[True].encode_batch(["some words"])[0])
    assert corpus.n_documents == -(-40 // per_document)


def test_made_once_and_again_when_the_text_changes(tmp_path):
    first = corpus_of(NASTY, tmp_path)
    stamp = (first.path / "tokens.npy").stat().st_mtime_ns
    assert (corpus_of(NASTY, tmp_path).path / "tokens.npy").stat().st_mtime_ns == stamp
    assert corpus_of([*NASTY, "more"], tmp_path).id != first.id


def test_too_few_documents_for_the_splits(tmp_path):
    with pytest.raises(UserError, match=r"fell into the(?s:.*)--tokens"):
        corpus_of(["one"], tmp_path, shares=(0.8, 0.1, 0.1))
    assert not (tmp_path / "corpus").exists()


def test_a_truncated_corpus_is_named(tmp_path):
    corpus = corpus_of(NASTY, tmp_path)
    path = corpus.path / "tokens.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"tokens\.npy is damaged"):
        TokenCorpus(corpus.path)


@pytest.mark.parametrize("values", [{"shares": (0.5, 0.1, 0.1)}, {"n_ctx": 1}, {"n_ctxt": 5}])
def test_impossible_configurations(values):
    with pytest.raises(UserError):
        CorpusConfig.parse({"source": "x", **values})


def test_config_survives_json():
    config = CorpusConfig(source="x", shares=(0.5, 0.25, 0.25))
    assert CorpusConfig.parse(json.loads(json.dumps(config.to_json()))) == config
