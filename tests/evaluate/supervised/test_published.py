"""Cross-sections of GPT-2 Small by name, and the published edits beside those that are made here."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.evaluate.supervised import records
from sparselex.evaluate.supervised.named import places_of
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.published import EDITS, SECTIONS, beside_published
from sparselex.evaluate.supervised.records import Edit, Row
from sparselex.lm.config import ModelConfig
from sparselex.lm.load import load_model
from tests.support.copier import copier, task


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """A model of the shape of GPT-2 Small's heads that knows nothing."""
    folder = tmp_path_factory.mktemp("gpt2")
    copier(folder).tokenizer  # noqa: B018 - its tokenizer is written there
    GPT2LMHeadModel(GPT2Config(n_embd=768, n_head=12, n_layer=12, vocab_size=64, n_positions=16)).save_pretrained(
        folder
    )
    return load_model(ModelConfig(name=str(folder)))


def test_every_published_node_is_one_of_the_model_and_of_the_task(shaped):
    places = places_of("published", shaped)
    assert [place.name for place in places] == list(SECTIONS) and [len(place.nodes) for place in places] == [
        10,
        10,
        30,
        4,
        4,
        7,
    ]
    nodes = {Node.parse(node) for place in places for node in place.nodes}
    assert len(nodes) == 55, "as many as the paper's later code has"
    assert all(shaped.width(node.hook) == 64 and node.role in task().roles for node in nodes)
    assert places_of("s-inhibition-v", shaped) == [SECTIONS["s-inhibition-v"]]


def test_they_are_of_no_other_model(tmp_path):
    with pytest.raises(UserError, match=r"'name-movers-q' is a cross-section of GPT-2 Small, and .* has \(1, 2, "):
        places_of("name-movers-q", copier(tmp_path))


def row(name, setting, way, agreement, k=2):
    share = Figure(name=f"{name}{setting}{way}{k}", value=agreement, n=10, definition="")
    edit = Edit(attribute="IO", way=way, k=k, agreement=share, removed=0.5, n_exchanged=2.0)
    return Row(name=name, setting=setting, n_seeds=1, sufficiency=share, necessity=share, edits=[edit])


def test_of_each_type_the_one_that_does_best_stands_beside_what_is_published():
    greedy = "greedy"
    rows = [
        row("supervised", "", "labels", 0.9),
        row("topk", "k=3", greedy, 0.6),
        row("topk", "k=6", greedy, 0.7),
        row("topk", "k=12", "by meaning", 1.0),
        row("gated", "l1=1", greedy, 1.0, k=4),
    ]
    tested = records.Tested(place=SECTIONS["name-movers-out"], gates={}, unedited={}, rows=rows)
    found = {one.row.name: (one.row.setting, one.there) for one in beside_published(tested)}
    published = EDITS["name-movers-out", "IO"]
    assert found == {"supervised": ("", published["supervised"]), "topk": ("k=6", published["topk"])}
    elsewhere = records.Tested(place=SECTIONS["s-inhibition-out"], gates={}, unedited={}, rows=rows)
    assert not list(beside_published(elsewhere)), "of this attribute nothing is published there"
