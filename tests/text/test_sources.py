"""Sources: every kind of file, and what is said when there is no text."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from sparselex.base.errors import UserError
from sparselex.text.sources import PART_LENGTH, load_documents, text_id


def read(source):
    return [tuple(document) for document in load_documents(str(source))]


def test_a_folder_of_every_kind(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"line one\r\nline two")
    (tmp_path / "b.json").write_text(json.dumps(["one", {"text": "two"}]))
    (tmp_path / "c.jsonl").write_text('{"content": "three"}\n\n{"story": "four"}\n')
    pyarrow.parquet.write_table(pyarrow.table({"id": [1], "text": ["five"]}), tmp_path / "d.parquet")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.md").write_text("six")
    assert read(tmp_path) == [
        ("a.txt", "line one\r\nline two"),
        ("b.json#0", "one"),
        ("b.json#1", "two"),
        ("c.jsonl#0", "three"),
        ("c.jsonl#1", "four"),
        ("d.parquet#0", "five"),
        ("sub/e.md", "six"),
    ]


def test_marks_divide_a_plain_file(tmp_path):
    (tmp_path / "a.txt").write_text("one<|endoftext|>two<|endoftext|>  ")
    assert [text for _, text in read(tmp_path / "a.txt")] == ["one", "two"]


def test_a_long_plain_file_alone_is_cut_into_parts_that_join_again(tmp_path):
    text = "".join(f"paragraph {n} " + "word " * (n % 50) + "\n\n" for n in range(400)) + "x" * 3 * PART_LENGTH
    (tmp_path / "a.txt").write_text(text)
    parts = [part for _, part in read(tmp_path / "a.txt")]
    assert "".join(parts) == text and len(parts) > 5 and max(map(len, parts)) <= 2 * PART_LENGTH
    assert [part for _, part in read(tmp_path)] == [text]  # in a folder a file is a document


def test_the_standard_library_is_text_on_every_python():
    documents = {name: text for name, text in load_documents("stdlib") if "/" not in name}
    assert "def dumps" not in documents["abc.py"] and "class ABC" in documents["abc.py"] and len(documents) > 100


def test_text_id_follows_the_contents(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    first = text_id(str(tmp_path))
    assert text_id(str(tmp_path)) == first
    (tmp_path / "a.txt").write_text("two")
    assert text_id(str(tmp_path)) != first


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"{", "cannot be read"),
        ("a.json", b"[1]", "holds a int and no text"),
        ("a.json", b'[{"id": 3}]', "rename the field"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read"),
        ("a.txt", b"  \n ", "holds no text"),
        ("a.parquet", b"not parquet", "cannot be read"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read(tmp_path / name)


def test_a_missing_path_and_an_unknown_dataset():
    with pytest.raises(UserError, match="does not exist"):
        read("nowhere/stories.json")
    with pytest.raises(UserError, match=r"no dataset of that name|is not installed"):
        read("no-such-dataset")
