"""A transformer of one block, made by hand, that does indirect object identification: one head adds up all names that
were read, the other takes the last one away, so that the name that came once is left."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model
from sparselex.lm.tokenizer import ROWS_BEGIN_WITH_BOS
from sparselex.tasks.ioi import Ioi

NAMES = ("Alan", "Anna", "Carl", "Clara", "David", "Emma", "Frank", "Grace")
NAMES += ("Henry", "Jack", "Laura", "Mark", "Nancy", "Oscar", "Peter", "Ruth")
PLACES, OBJECTS = ("park", "school", "museum", "zoo"), ("book", "ring", "pen", "hat")
N_POSITIONS = 32


def task() -> Ioi:
    return Ioi(NAMES, OBJECTS, PLACES)


def write_copier(folder) -> None:
    """The model as a Hugging Face folder."""
    words = _words()
    model, is_name, at = _model(len(words)), len(words), len(words) + 1
    state = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    d = model.config.n_embd
    half, names = d // 2, [words[f"Ġ{name}"] for name in NAMES]
    state["transformer.wte.weight"][torch.arange(len(words)), torch.arange(len(words))] = 1.0
    state["transformer.wte.weight"][names, is_name] = 1.0
    state["transformer.wpe.weight"][:, at] = torch.arange(N_POSITIONS) / N_POSITIONS
    state["transformer.wpe.weight"][:, at + 1] = 1.0  # what queries are made of
    for norm in ("transformer.h.0.ln_1", "transformer.h.0.ln_2", "transformer.ln_f"):
        state[f"{norm}.weight"][:] = 1.0
    attention = state["transformer.h.0.attn.c_attn.weight"]  # [d, 3 d]: queries, keys, values
    for head in range(2):
        attention[at + 1, head * half] = 10.0
        attention[is_name, d + head * half] = 10.0
        attention[torch.tensor(names), 2 * d + head * half + 1 + torch.arange(len(names))] = 1.0
    attention[at, d + half] = 30.0  # the second head looks at the last name
    out = state["transformer.h.0.attn.c_proj.weight"]
    for head, size in ((0, 1.0), (1, -1.0)):
        out[head * half + 1 + torch.arange(len(names)), torch.tensor(names)] = size
    state["lm_head.weight"][torch.tensor(names), torch.tensor(names)] = 3.0
    model.load_state_dict(state)
    model.save_pretrained(folder)
    _tokenizer(words).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["n_layer"] == 1


def copier(folder) -> TransformersModel:
    write_copier(folder)
    return load_model(str(folder))


def _words() -> dict[str, int]:
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own = task()
    texts = []
    for template in ("store", "walk", "found", "friends"):
        for place in PLACES:
            for thing in OBJECTS:
                filling = {
                    "template": template,
                    "IO": "Anna",
                    "S": "Carl",
                    "Pos": "ABB",
                    "place": place,
                    "object": thing,
                }
                texts.append(own.prompt(filling).text)
    found = {piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)}
    return {"<|endoftext|>": 0} | {
        word: number + 1 for number, word in enumerate(sorted(found | {f"Ġ{name}" for name in NAMES}))
    }


def _tokenizer(words: dict[str, int]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(words, "<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=N_POSITIONS,
        **{ROWS_BEGIN_WITH_BOS: True},
    )


def _model(n_words: int) -> GPT2LMHeadModel:
    d = n_words + 3 + (n_words + 3) % 2
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=n_words,
            n_positions=N_POSITIONS,
            n_embd=d,
            n_layer=1,
            n_head=2,
            tie_word_embeddings=False,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
