"""What is read and is no document is skipped and counted; what is no text at all is refused, each with one message."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from sparselex.base.errors import UserError
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.documents import Document, Skipped
from sparselex.text.records import Left
from sparselex.text.sources import load_documents
from tests.text.test_corpus import TOKENIZERS

RECORDS = [{"text": f"story {n}", "id": n} for n in range(3)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
TABLE = b"id,text\r\n0,story 0\r\n1,story 1\r\n2,story 2\r\n"
STORIES = ["story 0", "story 1", "story 2"]


def read(path):
    """The texts, and how many of what was skipped."""
    documents = load_documents(str(path))
    texts = [document.text for document in documents]
    return texts, {what: n for what, (n, _) in documents.skipped.items()}


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def parquet(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", LINES),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(RECORDS).encode()),
        ("a.json", LINES),  # JSON lines under the name of JSON
        ("A.JSONL.GZ", gzip.compress(LINES)),
        ("a.json.xz", lzma.compress(json.dumps(RECORDS).encode())),
        ("a.jsonl.bz2", bz2.compress(LINES)),
        ("a.csv", TABLE),
        ("a.csv", b"\xef\xbb\xbf" + TABLE),
        ("a.csv", TABLE.replace(b",", b";")),
        ("a.tsv", TABLE.replace(b",", b"\t")),
        ("a.csv.gz", gzip.compress(TABLE)),
        ("a.jsonl", b"\xef\xbb\xbf" * 2 + LINES),
        ("a.csv", b"\xef\xbb\xbf" * 2 + TABLE),
        ("a.txt", b"\xef\xbb\xbf" * 3 + b"story 0<|endoftext|>story 1<|endoftext|>story 2"),
        ("a.txt", b"\xef\xbb\xbfstory 0<|endoftext|>story 1<|endoftext|>story 2<|endoftext|>\n"),
    ],
)
def test_every_form_is_read_alone_and_in_a_folder(tmp_path, name, content):
    path = put(tmp_path / name, content)
    assert read(path) == (STORIES, {}) == read(tmp_path)


def test_parquet_may_be_compressed_as_a_file_and_hold_what_it_likes_beside_the_text(tmp_path):
    path = parquet(
        tmp_path / "a.parquet",
        text=[b"story 0", b"story 1", b"story 2"],
        nested=[{"a": [1]}, None, {"a": []}],
        array=[np.arange(3), None, np.arange(1)],
        far=pyarrow.array([-(2**62)] * 3, pyarrow.timestamp("ns", tz="UTC")),  # no Python date goes so far back
    )
    assert read(path) == (STORIES, {})
    assert read(put(tmp_path / "b.parquet.gz", gzip.compress(path.read_bytes()))) == (STORIES, {})


def test_a_cell_may_be_long_and_have_lines_commas_and_quotes(tmp_path):
    text = 'one, "two"\r\n' + "word " * 100_000
    path = put(tmp_path / "a.csv", ("text\n" + '"' + text.replace('"', '""') + '"\n').encode())
    assert read(path) == ([text], {})


@pytest.mark.parametrize(
    ("name", "content", "left", "skipped"),
    [
        ("a.jsonl", LINES + b'{"text": "story', STORIES, {"records that cannot be read": 1}),
        ("a.jsonl", LINES.replace(b'"story 1"', b"null"), ["story 0", "story 2"], {"empty documents": 1}),
        ("a.jsonl", LINES.replace(b'"story 1"', b'"  "'), ["story 0", "story 2"], {"empty documents": 1}),
        ("a.jsonl", LINES.replace(b'"story 1"', b"[1]"), ["story 0", "story 2"], {"records without text": 1}),
        ("a.jsonl", LINES.replace(b"story 1", b"\xff"), ["story 0", "story 2"], {"records that cannot be read": 1}),
        ("a.jsonl", b"null\n" + LINES + b"null\n" * 9, STORIES, {"empty documents": 10}),
        (
            "a.json",
            LINES.replace(b"story 1", b"bad \\ud800 lone"),
            ["story 0", "story 2"],
            {"documents with half a character": 1},
        ),
        ("a.csv", TABLE + b"3,\n\n4,a,b\n", STORIES, {"empty documents": 1, "records that cannot be read": 1}),
        ("a.csv", TABLE + b"3,\xff\n", STORIES, {"documents with half a character": 1}),
        ("a.csv", TABLE + b'3,"never closed\n', STORIES, {"records that cannot be read": 1}),
        ("a.csv", TABLE + b'3,"never closed\n4,four\n5,five\n', STORIES, {"records that cannot be read": 3}),
        ("a.csv", TABLE + b'3,"closed by\n4,"four"\n5,five\n', [*STORIES, "five"], {"records that cannot be read": 2}),
    ],
)
def test_what_is_empty_or_broken_is_skipped_and_counted(tmp_path, name, content, left, skipped):
    assert read(put(tmp_path / name, content)) == (left, skipped)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("a.csv", b"text\n" + b"story\n" * 2_000, b"nu\0ll\n"), ("a.jsonl", b'"story"\n' * 2_000, b'"nu\0ll"\n')],
)
def test_a_null_byte_far_in_a_file_of_records_is_one_of_them(tmp_path, name, good, bad):
    assert read(put(tmp_path / name, good + bad)) == (["story"] * 2_000, {"records that cannot be read": 1})


def test_nulls_and_lists_in_a_column(tmp_path):
    assert read(parquet(tmp_path / "a.parquet", text=["one", None, "", "two"])) == (
        ["one", "two"],
        {"empty documents": 2},
    )
    with pytest.raises(UserError, match="holds a list as text and no text"):
        read(parquet(tmp_path / "b.parquet", text=[np.arange(3), np.arange(2)]))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([{"a": "x"}, None], "holds a dict as text"),
        ([1, 2], "holds an int as text"),
        (pyarrow.array([[("a", "x")]], pyarrow.map_(pyarrow.string(), pyarrow.string())), "holds a list as text"),
        (pyarrow.array([], pyarrow.string()), "holds no text"),
        ([None, None], "holds no text .2 empty documents"),
    ],
)
def test_a_column_of_something_else_is_named(tmp_path, column, words):
    with pytest.raises(UserError, match=words):
        read(parquet(tmp_path / "a.parquet", text=column))


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_damaged_parquet_is_refused(tmp_path, how):
    path = parquet(tmp_path / "a.parquet", text=["words"] * 100)
    data = bytearray(path.read_bytes())
    if how == "changed":
        data[20:28] = bytes(byte ^ 255 for byte in data[20:28])
    with pytest.raises(UserError, match="cannot be read"):
        read(put(path, bytes(data[: len(data) // 2] if how == "cut" else data)))


def test_types_may_be_mixed_in_lines(tmp_path):
    values = ["a", 1, None, ["x"], {"b": 2}, "c", "d", "e", "f", True]
    lines = "".join(json.dumps({"text": value}) + "\n" for value in values).encode()
    assert read(put(tmp_path / "a.jsonl", lines)) == (
        ["a", "c", "d", "e", "f"],
        {"records without text": 4, "empty documents": 1},
    )


def test_a_cut_archive_is_read_to_where_it_is_cut(tmp_path):
    rng = np.random.default_rng(0)
    lines = [json.dumps({"text": rng.bytes(40).hex()}) for _ in range(2000)]
    packed = gzip.compress("".join(line + "\n" for line in lines).encode())
    texts, skipped = read(put(tmp_path / "a.jsonl.gz", packed[: len(packed) // 2]))
    assert texts == [json.loads(line)["text"] for line in lines[: len(texts)]] and 500 < len(texts) < 1500
    assert skipped == {"records that cannot be read": 1}
    texts, skipped = read(put(tmp_path / "b.jsonl.gz", packed + b"junk behind it"))
    assert len(texts) == 2000 and skipped == {"records that cannot be read": 1}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "cut', "record 0 cannot be read"),
        ("a.jsonl", LINES + b'{"id": 1}\n' * 4, "holds the fields 'id' and no text. So it is with 4 of 7 records"),
        ("a.jsonl", b'{"id": 1}\n' * 10**5, "So it is with 50 of 50 records"),
        ("a.csv", b"1,once upon a time\n2,there was\n", "its columns are '1', 'once upon a time'"),
        ("a.csv", b"text\n" + "caf\xe9\n".encode("latin-1") * 9, "half a character"),
        (
            "a.csv",
            TABLE + b'3,"open\n' + b"4,four\n" * 9,
            r"a quote opened in line 5 takes 10 lines.* So it is with 10 of 13",
        ),
        ("a.csv", b"text,text\na,b\n", "has 2 columns text; its columns are 'text', 'text'"),
        ("a.csv", b"text,roles,roles\na,b,c\n", "has 2 columns roles"),
        ("a.csv", b"", "holds no text"),
        ("a.csv", b"text\n", "holds no text"),
        ("a.jsonl", b"\n\n", "holds no text"),
        ("a.jsonl", b'{"text": null}\n' * 3, "3 empty documents, the first: .*record 0"),
        ("a.jsonl.gz", b"", "holds no text"),
        ("a.txt.gz", b"", "holds no text"),
        ("a.txt.gz", gzip.compress(b"words" * 1000)[:-9], "cannot be read: .*end-of-stream"),
        ("a.jsonl.gz", b"not gzip", "cannot be read: .*gzip"),
        ("a.jsonl.xz", b"not xz", "cannot be read"),
        ("a.parquet.gz", gzip.compress(b"not parquet"), "cannot be read"),
        ("a.parquet", b"", "cannot be read"),
        ("a.bin", b"\x7fELF\x00\x00", "it holds null bytes"),
        ("a.pdf", b"%PDF-1.7\n", "it is a PDF"),
        ("a.docx", b"PK\x03\x04...", "it is a zip archive"),
        ("a.txt", "words".encode("utf-16"), "it is UTF-16"),
        ("a.txt", "words".encode("utf-32"), "it is UTF-32"),
        ("a.txt", b"\0\0\xfe\xff" + "words".encode("utf-32-be"), "it is UTF-32"),
        ("a.txt", b"words " * 2_000 + b"\0", "it holds null bytes"),
        ("a.txt.gz", gzip.compress(b"words " * 2_000 + b"\0"), "it holds null bytes"),
        ("a.jsonl", json.dumps("words").encode("utf-16"), "it is UTF-16"),
        ("a.txt", gzip.compress(b"words"), "compressed with gzip under another name"),
        ("a.txt", "caf\xe9".encode("latin-1"), "cannot be read"),
    ],
)
def test_what_is_no_text_is_refused_with_one_message(tmp_path, name, content, words):
    with pytest.raises(UserError, match=words):
        read(put(tmp_path / name, content))


def test_a_table_without_its_column_names_those_there_are(tmp_path):
    with pytest.raises(UserError, match="no column of text; its columns are 'id', 'body'"):
        read(parquet(tmp_path / "a.parquet", id=[1], body=["words"]))


def test_columns_of_one_name_that_are_not_read_may_be_there(tmp_path):
    assert read(put(tmp_path / "a.csv", b"text,,\nstory,1,2\n")) == (["story"], {})
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], ["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(UserError, match="has 2 columns text"):
        read(tmp_path / "b.parquet")


def test_in_a_folder_what_is_no_text_is_skipped_and_counted(tmp_path):
    put(tmp_path / "a.txt", b"words")
    put(tmp_path / "b.png", b"\x89PNG\x00")
    put(tmp_path / "c.txt", "caf\xe9".encode("latin-1"))
    put(tmp_path / "package.json", {"name": "settings, and no records"})
    assert read(tmp_path) == (["words"], {"files that cannot be read as text": 3})
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"3 files that cannot be read as text, the first: .*b\.png .*null bytes"):
        read(tmp_path)


def test_the_corpus_says_what_was_skipped(tmp_path):
    """Whoever reads: what a source of another package hands out, and documents made in Python, are held to the same."""
    items = [Document("a", "one two"), Document("b", " "), Document("c", "\ud800"), Skipped("strange things", "d is")]
    config = CorpusConfig(source="memory", n_ctx=7, shares=(1, 0, 0))
    corpus = build_corpus(items, TOKENIZERS[True], config, tmp_path / "corpus")
    assert corpus.names == ["a"]
    notes = corpus.manifest.notes
    assert notes["skipped"][1]["first"] == "c: half a character ('\\ud800') stands at 0"
    said = "skipped: empty documents (1), documents with half a character (1), strange things (1)"
    assert Left.said(notes) == said and Left.said({}) == ""
