"""Sources: every kind of file, and what is said when there is no text."""

import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sparselex.base.errors import UserError
from sparselex.text import sources
from sparselex.text.documents import Document
from sparselex.text.files import PART_LENGTH
from sparselex.text.identity import settled, text_id, text_stamp
from sparselex.text.sources import load_documents
from tests.support.plugin import install


def read(source):
    return [(document.name, document.text) for document in load_documents(str(source))]


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
    documents = {one.name: one.text for one in load_documents("stdlib") if "/" not in one.name}
    assert "def dumps" not in documents["abc.py"] and "class ABC" in documents["abc.py"] and len(documents) > 100


def test_text_id_follows_the_contents(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    first = text_id(str(tmp_path))
    assert text_id(str(tmp_path)) == first
    (tmp_path / "a.txt").write_text("two")
    assert text_id(str(tmp_path)) != first


def answers(folder):
    """What each of those who ask says of a text: its documents' names, its identity, and its stamp."""
    return [name for name, _ in read(folder)], text_id(str(folder)), text_stamp(str(folder))


def write(path, text="words"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def link(path, to):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda folder: write(folder / "new.txt"), True),
        (lambda folder: write(folder / "site-packages" / "a.py"), True),
        (lambda folder: write(folder / "sub" / "dist-packages" / "a.py"), True),
        (lambda folder: (folder / "sub").rename(folder / "renamed"), True),
        (lambda folder: (folder / "sub" / "b.txt").rename(folder / "b.txt"), True),
        (lambda folder: link(folder / "again.txt", "a.txt"), True),
        (lambda folder: write(folder / ".hidden"), False),
        (lambda folder: write(folder / "sub" / ".hidden"), False),
        (lambda folder: write(folder / ".git" / "config"), False),
        (lambda folder: write(folder / "sub" / "__pycache__" / "b.pyc", "no text"), False),
        (lambda folder: link(folder / "dangling.txt", "nowhere.txt"), False),
        (lambda folder: link(folder / "out.txt", folder.parent / "outside" / "secret.txt"), False),
        (lambda folder: link(folder / "sub" / "out", folder.parent / "outside"), False),
    ],
)
def test_documents_identity_and_stamp_are_of_the_same_files(tmp_path, change, counts):
    write(tmp_path / "outside" / "secret.txt")
    write(tmp_path / "text" / "a.txt")
    write(tmp_path / "text" / "sub" / "b.txt")
    before = answers(tmp_path / "text")
    change(tmp_path / "text")
    assert [now != then for now, then in zip(answers(tmp_path / "text"), before, strict=True)] == [counts] * 3


def test_nothing_is_opened_before_a_document_is_asked_for(tmp_path):
    documents = load_documents(str(tmp_path / "later.txt"))
    (tmp_path / "later.txt").write_text("words")
    assert [document.text for document in documents] == ["words"]
    with pytest.raises(UserError, match="links that lead out of it are not read"):
        (tmp_path / "empty").mkdir()
        read(tmp_path / "empty")


@pytest.mark.parametrize("name", ["teknium/OpenHermes-2.5", "owner/name.v1:train", "c4.en"])
def test_a_name_with_a_dot_may_be_a_datasets(name, monkeypatch):
    monkeypatch.setattr(sources, "dataset_documents", lambda source, field: iter([Document(source, "words")]))
    assert read(name) == [(name, "words")]


@pytest.mark.parametrize(
    "name", ["stories.json", "lab/stories.TXT", "code.py", "./stories", "~/no-such", "/nowhere/at-all"]
)
def test_what_looks_like_a_path_is_no_datasets_name(name, monkeypatch):
    monkeypatch.setattr(sources, "dataset_documents", lambda source, field: pytest.fail("the hub was asked"))
    with pytest.raises(UserError, match="does not exist"):
        read(name)


def test_a_path_is_settled_and_a_name_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "texts" / "a.txt")
    assert settled("texts") == settled("./texts") == str(tmp_path / "texts")
    assert [settled(name) for name in ("stdlib", "owner/name:test", "nowhere")] == [
        "stdlib",
        "owner/name:test",
        "nowhere",
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"{", "cannot be read"),
        ("a.json", b"[1]", "holds an int and no text"),
        ("a.json", b'[{"id": 3}]', "holds the fields 'id' and no text(?s:.)*name the field"),
        ("a.json", b'[{"text": ["a"]}]', "holds a list as text and no text"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read"),
        ("a.txt", b"  \n ", "holds no text"),
        ("a.parquet", b"not parquet", "cannot be read"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"a":' * 100_000, "nested too deeply"),
        ("a.jsonl", b"9" * 5_000, "too many digits"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read(tmp_path / name)


def test_a_pipe_and_a_device_are_no_text(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="no regular file"):
            read(source)


def test_names_that_are_no_utf8_are_written_out(tmp_path):
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/n\xff"))
    write(folder / os.fsdecode(b"5\xff.txt"))
    assert read(folder) == [("5\\xff.txt", "words")] == read(folder / os.fsdecode(b"5\xff.txt"))
    assert text_id(str(folder)) and text_stamp(str(folder))


@pytest.mark.slow
def test_an_unknown_dataset():
    with pytest.raises(UserError, match=r"no dataset of that name|is not installed"):
        read("no-such-dataset")


POEMS = """from sparselex.base.errors import UserError
from sparselex.text.documents import Document


class Poems:
    def documents(self, rest):
        if rest not in ("", "short"):
            raise UserError(f"There are no poems {rest!r}.", "short, or nothing", "ask for poems:short.")
        for number in range(2 if rest else 5):
            yield Document(f"poem-{number}", f"roses are red {number}")

    def identity(self, rest):
        return f"poems-1-{rest}"


POEMS = Poems()
"""


def test_a_source_of_another_package(tmp_path, monkeypatch):
    """Asked for by its name, before paths and datasets; what stands behind the name is its own affair."""
    install(tmp_path / "p", "poems-text", POEMS, {"sparselex.source": {"poems": "poems_text:POEMS"}})
    monkeypatch.syspath_prepend(str(tmp_path / "p"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems").write_text("a file of the same name")
    assert len(read("poems")) == 5 and read("poems:short")[1] == ("poem-1", "roses are red 1")
    assert text_id("poems") == "poems-1-" and text_id("poems:short") == "poems-1-short"
    assert text_stamp("poems:short") == "poems-1-short" and text_stamp("stdlib") != text_id("stdlib")
    assert read("./poems") == [("poems", "a file of the same name")]
    with pytest.raises(UserError, match="There are no poems 'long'"):
        read("poems:long")
    with pytest.raises(UserError, match="stdlib alone"):
        read("stdlib:json")


def test_records_may_name_roles(tmp_path):
    lines = [{"text": "Ann left", "roles": {"subject": [0, 3]}}, {"text": "rain"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [document.roles for document in load_documents(str(tmp_path))] == [{"subject": [0, 3]}, None]
