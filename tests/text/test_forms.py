"""Text as people have it: a named field, token ids, chats, lines, configurations of datasets, and mixtures."""

import gzip
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tokenizers as tk
from transformers import PreTrainedTokenizerFast

from sparselex.base.errors import UserError
from sparselex.lm.tokenizer import ModelTokenizer
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.documents import Document, Documents
from sparselex.text.hub import dataset_documents
from sparselex.text.identity import settled, text_id, text_stamp
from sparselex.text.records import Left, Part
from sparselex.text.sources import load_documents
from sparselex.text.table import parts_of
from tests.text.test_copies import prose

TEMPLATE = (
    "{% if messages[0]['role'] == 'critic' %}{{ raise_exception('no critics') }}{% endif %}{{ bos_token }}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{{ eos_token }}"
)
CHAT = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A small model."}]


def tokenizer(*, template="", bos=True):
    """A byte-level tokenizer with special tokens, such as a chat's; with a BOS of its own or without."""
    names = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    backend = tk.Tokenizer(tk.models.BPE())
    backend.pre_tokenizer, backend.decoder = (
        tk.pre_tokenizers.ByteLevel(add_prefix_space=False),
        tk.decoders.ByteLevel(),
    )
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    trainer = tk.trainers.BpeTrainer(special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["who are you? a small model."], trainer)
    if bos:
        backend.post_processor = tk.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", chat_template=template)
    return ModelTokenizer(fast)


PLAIN, CHATTING = tokenizer(), tokenizer(template=TEMPLATE)


def texts(source, **how):
    return [document.text for document in load_documents(str(source), **how)]


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def corpus_of(documents, to, using=PLAIN, **options):
    config = CorpusConfig(source="memory", **{"n_ctx": 64, "shares": (1, 0, 0), **options})
    return build_corpus(documents, using, config, to / "corpus", text_id=str(options))


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_text_is_in_the_field_that_is_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "jsonl":
        lines(path, {"text": "no", "body": "one"}, {"body": "two"})
    elif ending == "csv":
        path.write_text("text,body\nno,one\nno,two\n")
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": ["no", "no"], "body": ["one", "two"]}), path)
    assert texts(path, text_field="body") == ["one", "two"] == texts(tmp_path, text_field="body")
    with pytest.raises(UserError, match=r"'text', 'body'|the fields 'text', 'body'"):
        texts(path, text_field="bodie")


def test_a_field_may_lie_in_another_or_have_a_dot_in_its_name(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"doc": [{"a": {"b": "in"}}, None, {"a": None}]}), tmp_path / "a.parquet")
    assert texts(tmp_path / "a.parquet", text_field="doc.a.b") == ["in"]
    assert texts(lines(tmp_path / "b.jsonl", {"doc.a": "dot", "doc": {"a": "in"}}), text_field="doc.a") == ["dot"]
    with pytest.raises(UserError, match="holds the fields 'doc'"):
        texts(lines(tmp_path / "c.jsonl", {"doc": {"a": "in"}}), text_field="doc.b")


def test_each_line_may_be_a_document(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\n\ntwo <|endoftext|> still\nthr\xffee\nfour")
    documents = load_documents(str(tmp_path / "a.txt"), documents="line")
    assert [one.text for one in documents] == ["one", "two <|endoftext|> still", "four"]
    assert documents.skipped["records that cannot be read"][0] == 1
    long = tmp_path / "long.txt"
    long.write_text("word " * 10_000)
    assert texts(long, documents="line") == ["word " * 10_000]
    long.write_bytes(b"\xef\xbb\xbf\xef\xbb\xbf" + b"word\n" * 2_000 + b"nu\0ll\n")
    documents = load_documents(str(long), documents="line")
    assert {one.text for one in documents} == {"word"} and documents.skipped["records that cannot be read"][0] == 1


@pytest.mark.parametrize("how", [{"text_field": "body"}, {"documents": "line"}])
def test_a_source_of_its_own_knows_its_documents(how):
    with pytest.raises(UserError, match="'stdlib' was asked for with"):
        load_documents("stdlib", **how)


@pytest.mark.parametrize("source", ["a.jsonl", "a.csv.gz", "sub", "sub@1+stdlib@2", "owner/dataset"])
def test_lines_are_asked_for_of_plain_text_alone(tmp_path, monkeypatch, source):
    """In a folder with some, records are documents as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text\none\n"))
    for name in ("a.jsonl", "sub/b.jsonl"):
        lines(tmp_path / name, {"text": "three\nfour"})
    with pytest.raises(UserError, match="holds no plain text, and its lines were asked for") as refused:
        load_documents(source, documents="line")
    assert "leave --documents out" in str(refused.value)
    (tmp_path / "sub/a.txt").write_text("one\ntwo\n")
    assert texts("sub", documents="line") == ["one", "two", "three\nfour"]
    with pytest.raises(UserError, match="does not exist"):
        texts("./nowhere.txt", documents="line")


def test_a_field_is_asked_for_of_a_mixture_that_has_one(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("words")
    with pytest.raises(UserError, match=r"no source of the mixture .* has records"):
        load_documents(f"{tmp_path}/a.txt@1+{tmp_path}/b.txt@1", text_field="body")


def test_plain_text_has_no_fields(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(UserError, match="The field body was asked for"):
        texts(tmp_path / "a.txt", text_field="body")
    lines(tmp_path / "b.jsonl", {"body": "one"})
    documents = load_documents(str(tmp_path), text_field="body")
    assert [one.text for one in documents] == ["one"] and documents.skipped["files that cannot be read as text"][0] == 1


def test_token_ids_are_taken_as_they_are(tmp_path):
    """With what the tokenizer puts around a text taken off: a corpus has that of its own."""
    text = "who are you? 日本"
    (ids,) = PLAIN.encode_batch([text])
    path = tmp_path / "a.parquet"
    rows = pyarrow.table({"input_ids": [[0, *ids, 1, 1], ids[:4], [], None, [0, 1]]})
    pyarrow.parquet.write_table(rows, path)
    corpus = corpus_of(load_documents(str(path), text_field="input_ids"), tmp_path)
    assert [corpus.document_tokens(n).tolist() for n in range(corpus.n_documents)] == [ids, ids[:4]]
    assert corpus.document_bytes(0) == text.encode() and corpus.manifest.notes["skipped"][0]["n"] == 3
    with pytest.raises(UserError, match="'input_ids'"):  # as ids only where a person says so
        texts(path)


def test_copies_are_found_among_ids_too(tmp_path):
    (ids,) = PLAIN.encode_batch([prose(1)])
    documents = [Document("a", "", ids=ids), Document("b", prose(1)), Document("c", prose(2))]
    assert corpus_of(documents, tmp_path).manifest.notes["division"]["copies"] == 2


@pytest.mark.parametrize("token", [-100, 10**6])
def test_an_id_that_is_no_tokens_is_named(tmp_path, token):
    path = lines(tmp_path / "a.jsonl", {"ids": [5, token]})
    with pytest.raises(
        UserError, match=rf"document 'a\.jsonl#0' has the token id {token}, and the tokenizer \d+ tokens"
    ):
        corpus_of(load_documents(str(path), text_field="ids"), tmp_path)
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("field", ["", "messages", "talk"])
def test_chats_are_written_by_the_template(tmp_path, field):
    name = field or "messages"
    parts = [{"role": "user", "content": [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]}]
    path = lines(tmp_path / "a.jsonl", {name: CHAT}, {name: [*parts, CHAT[1]]}, {name: None}, {name: []})
    corpus = corpus_of(load_documents(str(path), text_field=field), tmp_path, CHATTING)
    vocabulary = corpus.vocabulary
    for number in range(2):
        said = b"".join(vocabulary.token_bytes(token) for token in corpus.document_tokens(number).tolist()).decode()
        assert said == "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\nA small model.<|im_end|>\n"
    assert {2, 3} <= set(corpus.document_tokens(0).tolist()) and (np.asarray(corpus.tokens)[:, 0] == 0).all()
    assert corpus.manifest.notes["division"]["copies"] == 2


def test_a_chat_that_the_template_refuses_is_skipped_and_counted(tmp_path):
    critic = [{"role": "critic", "content": "No."}]
    half = [{"role": "us\ud800", "content": "Half a character in the name of the role."}]
    chats = (CHAT, critic, [{"role": "user"}], half)
    path = lines(tmp_path / "a.jsonl", *({"messages": chat} for chat in chats))
    corpus = corpus_of(load_documents(str(path)), tmp_path, CHATTING)
    assert {one["what"]: one["n"] for one in corpus.manifest.notes["skipped"]} == {
        "chats that the template refuses": 2,
        "records without text": 1,
    }
    with pytest.raises(UserError, match=r"holds no text .*chats that the template refuses, the first: .*no critics"):
        corpus_of(load_documents(str(lines(tmp_path / "b.jsonl", {"messages": critic}))), tmp_path / "b", CHATTING)


CALL = [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}]
CALLING = TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'] }}{{ message.get('tool_calls') or '' }}")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("content", ["", None, "Let me look."])
def test_calls_of_tools_are_written_or_the_chat_is_skipped(tmp_path, form, content):
    """Never left out in silence, whether the message has another content or none."""
    chat = [CHAT[0], {"role": "assistant", "content": content, "tool_calls": CALL}]
    path = tmp_path / f"a.{form}"
    if form == "jsonl":
        lines(path, {"messages": chat}, {"messages": CHAT})
    else:
        pyarrow.parquet.write_table(pyarrow.table({"messages": [chat, CHAT]}), path)
    whole = corpus_of(load_documents(str(path)), tmp_path / "whole", tokenizer(template=CALLING))
    said = [whole.vocabulary.decode(whole.document_tokens(n).tolist()) for n in range(whole.n_documents)]
    assert len(said) == 2 and "weather" in said[0] and "Bern" in said[0] and "tool_calls" not in said[1]
    assert (content or "") in said[0] and "None" not in said[0]
    notes = corpus_of(load_documents(str(path)), tmp_path / "less", CHATTING).manifest.notes
    assert notes["n_documents"]["train"] == 1
    (skipped,) = notes["skipped"]
    assert skipped["what"] == "chats that the template does not write whole" and "tool_calls" in skipped["first"]
    first, second = load_documents(str(path))
    assert json.dumps(CALL) in first.text and "weather" not in second.text


def test_what_the_tokenizer_alters_is_counted(tmp_path):
    """It stays as the model knows it: in small letters, say, or with an unknown token for what it has no token for."""
    lower = tokenizer()
    lower._backend.normalizer = tk.normalizers.Lowercase()
    texts = [Document("same", "who are you?"), Document("other", "Who are you?"), Document("ids", "", ids=[5])]
    chats = [Document("chat", "\n".join(m["content"] for m in CHAT), messages=CHAT)]
    notes = corpus_of([*texts, *chats], tmp_path, CHATTING).manifest.notes
    assert notes["altered"] == [] and "altered" not in Left.said(notes)
    notes = corpus_of(texts, tmp_path / "lower", lower).manifest.notes
    assert [(one["n"], one["first"]) for one in notes["altered"]] == [(1, "other")]
    assert Left.said(notes) == "altered: documents that the tokenizer does not give back byte for byte (1)"


def test_a_chat_needs_a_template(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"messages": CHAT})
    with pytest.raises(UserError, match=r"'a\.jsonl#0' is a chat, and the model's tokenizer has no chat template"):
        corpus_of(load_documents(str(path)), tmp_path)


def test_a_dataset_may_have_configurations(tmp_path):
    """The real library on a folder that is a dataset with two configurations."""
    pytest.importorskip("datasets")
    lines(tmp_path / "one.jsonl", {"text": "first"}, {"text": None})
    lines(tmp_path / "two.jsonl", {"text": "second", "body": "other"})
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: one.jsonl\n"
        "- config_name: b\n  data_files:\n  - split: test\n    path: two.jsonl\n---\n"
    )
    found = Documents(dataset_documents(f"{tmp_path}:a:"))
    assert [one.text for one in found] == ["first"] and found.skipped["empty documents"][0] == 1
    assert [one.text for one in dataset_documents(f"{tmp_path}:b:test", "body")] == ["other"]
    for source in (f"{tmp_path}:c:train", f"{tmp_path}:a:test", str(tmp_path)):
        with pytest.raises(UserError, match="no dataset of that name can be loaded"):
            list(dataset_documents(source))
    with pytest.raises(UserError, match="more than two colons"):
        list(dataset_documents("a:b:c:d"))


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("stdlib@0.7+texts/@0.3", [("stdlib", 0.7), ("texts/", 0.3)]),
        ("a:b:c@2+d+1@.5+e@1", [("a:b:c", 2), ("d+1", 0.5), ("e", 1)]),
        ("stdlib@0.7", []),
        ("stdlib+texts", []),
        ("a@x+b@1", []),
    ],
)
def test_what_a_mixture_is(source, parts):
    assert parts_of(source) == parts


def test_a_path_that_exists_is_no_mixture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a@1+b@2").write_text("words")
    assert texts("a@1+b@2") == ["words"]


@pytest.mark.parametrize("source", ["a@0+b@1", "a@1+a@2"])
def test_impossible_mixtures(source):
    with pytest.raises(UserError):
        load_documents(source)


def mixed(tmp_path, weights=(3, 1), n=(200, 200), words=(60, 120)):
    """Two folders, whose files are of different lengths, and what names them together."""
    for folder, seed, count, length in zip(("x/texts", "y/texts"), (0, 500), n, words, strict=True):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / folder / f"{number:03}.txt").write_text(prose(seed + number, length))
    return "+".join(f"{tmp_path}/{folder}/texts@{weight}" for folder, weight in zip("xy", weights, strict=True))


def test_a_mixture_has_the_shares_of_tokens_that_were_asked_for(tmp_path):
    source = mixed(tmp_path)
    corpus = corpus_of(load_documents(source), tmp_path, n_tokens=40_000)
    parts = [Part.parse(part) for part in corpus.manifest.notes["parts"]]
    assert [part.share for part in parts] == [0.75, 0.25] and not any(part.ran_out for part in parts)
    assert parts[0].n_tokens / corpus.manifest.notes["n_tokens"] == pytest.approx(0.75, abs=0.02)
    assert sum(part.n_documents for part in parts) == corpus.n_documents == len(set(corpus.names))
    assert {name.partition(":")[0] for name in corpus.names} == {"0-texts", "1-texts"}
    again = corpus_of(load_documents(source), tmp_path / "again", n_tokens=40_000)
    assert again.id == corpus.id
    by_bytes = [(one.name[0], len(one.text)) for one in load_documents(source)]
    first = sum(size for source, size in by_bytes if source == "0")
    assert first / sum(size for _, size in by_bytes) == pytest.approx(0.75, abs=0.02)


def test_a_mixture_ends_where_its_first_source_does(tmp_path):
    corpus = corpus_of(load_documents(mixed(tmp_path, n=(200, 5))), tmp_path)
    first, second = map(Part.parse, corpus.manifest.notes["parts"])
    assert second.ran_out and second.n_documents == 5 and first.n_documents < 200
    assert Part.said(corpus.manifest.notes).endswith(f"{second.n_tokens:,} tokens of {tmp_path}/y/texts, which ran out")
    with pytest.raises(UserError, match="does not exist"):
        corpus_of(load_documents(f"{tmp_path}/x/texts@1+./nowhere@1"), tmp_path / "b")


def test_a_mixture_is_settled_and_told_from_another_by_all_its_sources(tmp_path, monkeypatch):
    source = mixed(tmp_path, n=(2, 2))
    monkeypatch.chdir(tmp_path)
    assert settled("x/texts@3+y/texts@1") == source and settled("stdlib@1+a/b@2") == "stdlib@1+a/b@2"
    before = text_id(source), text_stamp(source)
    assert text_id(source.replace("@3", "@2")) != before[0]
    (tmp_path / "y/texts/000.txt").write_text("other")
    assert text_id(source) != before[0] and text_stamp(source) != before[1]
