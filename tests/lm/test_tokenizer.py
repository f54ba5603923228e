"""Tokens as bytes: every text comes back from its tokens, whatever the tokenizer's dialect."""

import shutil

import pytest
import tokenizers as tk
from transformers import PreTrainedTokenizerFast

from sparselex.lm.embedded import EMBEDDED
from sparselex.lm.load import load_model
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
    backend = tk.Tokenizer(tk.models.WordLevel({"<s>": 0, "a": 1, "?": 2}, unk_token="?"))
    backend.add_special_tokens(["<s>"])
    backend.post_processor = tk.processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0)] if "<s>" in template else []
    )
    tokenizer = ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos))
    assert tokenizer.adds_bos is adds and tokenizer.encode_batch(["a"]) == [[1]]


def test_the_embedded_models_were_trained_with_bos_and_say_so(tmp_path):
    """Their tokenizer adds none, so that it stands in their files, and stays where these are copied."""
    tokenizer = load_model("embedded").tokenizer
    assert tokenizer.adds_bos and tokenizer.bos_id == 0 and tokenizer.id == "17707fe766189735"
    shutil.copytree(EMBEDDED["embedded-b"], tmp_path / "copy")
    assert load_model(str(tmp_path / "copy")).tokenizer.adds_bos


def test_sentencepiece_with_byte_fallback():
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    model = tk.models.BPE({p: i for i, p in enumerate(pieces)}, [("▁", "a")], byte_fallback=True, unk_token="<unk>")
    backend = tk.Tokenizer(model)
    backend.normalizer = tk.normalizers.Sequence([tk.normalizers.Prepend("▁"), tk.normalizers.Replace(" ", "▁")])
    backend.decoder = tk.decoders.Sequence(
        [tk.decoders.Replace("▁", " "), tk.decoders.ByteFallback(), tk.decoders.Fuse()]
    )
    backend.add_special_tokens(["<s>", "</s>"])
    tokenizer = ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>"))
    texts = ["a a", " a", "héé 日", "</s> a"]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.vocabulary.bytes_of(ids) == text.encode()


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox"])
def test_real_tokenizers_are_lossless(shared_data, name):
    folder = shared_data / "tokenizers" / name
    if name == "gpt2":
        backend = tk.Tokenizer(tk.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        backend.pre_tokenizer, backend.decoder = (
            tk.pre_tokenizers.ByteLevel(add_prefix_space=False),
            tk.decoders.ByteLevel(),
        )
    else:
        backend = tk.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = ModelTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    for text, ids in zip(NASTY[:3], tokenizer.encode_batch(NASTY[:3]), strict=True):
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
