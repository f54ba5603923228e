"""What a run reads: begun, begun anew with a part of it changed, and never changed by a stage in passing."""

import json

import pytest

from sparselex.base.errors import UserError
from sparselex.base.sites import Mask
from sparselex.base.workspace import Workspace
from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.config import ModelConfig
from sparselex.recipes.config import Beginning, RunConfig, new_run, twin_of
from sparselex.recipes.run import Run
from sparselex.recipes.stages.harvest import Harvest
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from tests.support.command import done, sparselex
from tests.support.small import small_config, small_run, write_documents
from tests.text.test_copies import prose

POST, OUT = "blocks.0.mlp.hook_post", "blocks.0.hook_mlp_out"

OWN = RunConfig(
    model=ModelConfig(name="embedded", dtype="bfloat16"),
    second_model=ModelConfig(name="embedded-b", twin_seed=7, trust_remote_code=True),
    text=CorpusConfig(source="stdlib", layout="prompts", shares=(0.5, 0.25, 0.25), seed=3),
    hook=POST,
    mask=Mask(norm_outlier=0),
    stages={"train": {"k": 4}},
)
"""One with values that no option of the command line sets."""


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"hook": OUT}, {"hook": OUT}),
        ({"n_ctx": 64}, {"text": OWN.text.model_copy(update={"n_ctx": 64})}),
        (
            {"shares": (0.6, 0.2, 0.2), "split_seed": 9},
            {"text": OWN.text.model_copy(update={"shares": (0.6, 0.2, 0.2), "seed": 9})},
        ),
        ({"bos": "never"}, {"text": OWN.text.model_copy(update={"bos": "never"})}),
        ({"model": "gpt2"}, {"model": OWN.model.model_copy(update={"name": "gpt2"})}),
        ({"second_model": "gpt2"}, {"second_model": OWN.second_model.model_copy(update={"name": "gpt2"})}),
        ({"second_model": None}, {"second_model": None}),
        (
            {"device": "meta"},
            {
                "model": OWN.model.model_copy(update={"device": "meta"}),
                "second_model": OWN.second_model.model_copy(update={"device": "meta"}),
            },
        ),
    ],
)
def test_only_what_is_told_changes(given, changed):
    assert OWN.with_reads(given) == OWN.model_copy(update=changed)


def test_how_documents_are_found_and_divided_is_an_option(tmp_path):
    """Of every verb that begins a run: another field, seed or share is another corpus, beside the first."""
    text = tmp_path / "texts.jsonl"
    text.write_text("".join(json.dumps({"body": prose(n, 60), "n": n}) + "\n" for n in range(80)))
    base = ("--text", str(text), "--text-field", "body", "--context", "32")
    made = {}
    for number, more in enumerate(([], ["--split-seed", "1"], ["--shares", "0.5,0.25,0.25"], ["--bos", "never"])):
        done("harvest", tmp_path / "w", "--run", f"r{number}", *base, *more)
        corpus = TokenCorpus(Workspace(tmp_path / "w").corpus_of(f"r{number}"))
        made[number] = corpus.config, corpus.split_of_documents.tolist(), corpus.bos_id
    assert [config.shares for config, *_ in made.values()] == [(0.8, 0.1, 0.1)] * 2 + [
        (0.5, 0.25, 0.25),
        (0.8, 0.1, 0.1),
    ]
    assert made[0][1] != made[1][1] and made[2][1].count(0) < 50 < made[0][1].count(0)
    assert [bos for *_, bos in made.values()] == [0, 0, 0, None]
    for given, words in (
        ("0.5,0.1,0.1", ": shares must sum to 1, not"),
        ("nan,0.5,0.5", ".0: Input should"),
        ("1,0.5,-0.5", ".2: Input should"),
    ):
        ended = sparselex("harvest", tmp_path / "w", "--run", "other", *base, "--shares", given)
        assert ended.code == 2 and f"--shares{words}" in ended.err


def test_a_second_model_that_comes_later_is_like_the_first():
    alone = OWN.model_copy(update={"second_model": None}).with_twin("gaussian", 5)
    added = alone.with_reads({"second_model": "embedded-b"})
    assert added.model == alone.model
    assert added.second_model == alone.model.model_copy(update={"name": "embedded-b", "twin_seed": 6})


def test_two_models_of_one_shape_get_weights_of_their_own():
    """Whether a run is begun on twins or made the twin of another."""
    pair = {"model": "embedded", "second_model": "embedded-b"}
    for seed in (0, 4):
        begun = Beginning(**pair, twin="reinitialised", twin_seed=seed).run_config()
        made = twin_of(new_run(**pair, twin_seed=seed))
        seeds = [(config.model.twin_seed, config.second_model.twin_seed) for config in (begun, made)]
        assert seeds == [(seed, seed + 1)] * 2
        assert [config.second_model.twin for config in (begun, made)] == ["reinitialised"] * 2


def test_what_is_read_comes_back_as_it_was_given():
    config = new_run("embedded", "stdlib", hook=POST, n_ctx=32, twin="permuted", twin_seed=2, twin_of="main")
    assert Beginning(**config.reads).run_config() == config


@pytest.mark.slow
def test_an_option_changes_nothing_else_that_a_run_reads(tmp_path):
    """A run of the library, gone on with from the command line."""
    text = {"shares": (0.6, 0.2, 0.2), "seed": 3}
    config = small_config(write_documents(tmp_path / "text"))
    own = {"mask": Mask(norm_outlier=0), "text": config.text.model_copy(update=text)}
    run = Run.create(Workspace.create(tmp_path / "w"), "main", config.model_copy(update=own))
    run.do("harvest")
    before = run.workspace.settings("main")
    done("harvest", tmp_path / "w", "--dtype", "int8", "--hook", OUT, "--replace")
    after = run.workspace.settings("main")
    assert after["stages"].pop("harvest")["dtype"] == "int8" != before["stages"].pop("harvest")["dtype"]
    assert after == before | {"hook": OUT}
    assert run.workspace.card("main").sites.mask == Mask(norm_outlier=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "other"}, r"harvest was given text='other', and run 'main' reads text='.*/text'"),
        ({"hook": OUT}, f"hook='{OUT}', and run 'main' reads hook=None"),
        ({"n_ctx": 32, "twin": "permuted"}, r"n_ctx=32, twin='permuted'(?s:.*)leave n_ctx and twin out"),
        ({"second_model": "embedded-b"}, r"second_model='embedded-b'(?s:.*)Run.create\(workspace, NAME"),
    ],
)
def test_a_stage_does_not_read_something_else_in_passing(options, words, tmp_path):
    """Neither by its options nor as an object; it used to ignore them, and to keep them as what it had read."""
    run = small_run(tmp_path)
    for stage in (("harvest", options), (Harvest(**options), {})):
        with pytest.raises(UserError, match=words):
            run.do(stage[0], **stage[1])
    with pytest.raises(UserError, match="import was given"):
        run.do("import", source="anywhere", **options)
    assert not run.folder.exists()


def test_options_beside_an_object_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"given as an object, and dtype beside it(?s:.*)put dtype into Harvest\("):
        small_run(tmp_path).do(Harvest(), dtype="int8")


@pytest.mark.slow
def test_what_is_read_is_kept_once(tmp_path):
    """An object that leaves open what is read takes what the run reads; so does one that says the same."""
    run = small_run(tmp_path)
    assert run.do(Harvest(dtype="int8")).dtype == "int8"
    kept = run.workspace.settings("main")
    assert not kept["stages"]["harvest"].keys() & Beginning.model_fields.keys()
    assert run.do("harvest", text=str(tmp_path / "text"), dtype="float32").dtype == "float32"


@pytest.mark.slow
def test_an_import_reads_where_its_files_say(tmp_path):
    """Though the run was opened at its default before."""
    run = small_run(tmp_path)
    assert run.sites.hooks == (POST,) and run.reader.d_in == 512
    dictionary = new_dictionary(TopKConfig(d_in=128, d_sae=16, k=2))
    dictionary.fold([1.0], [1.0])
    wide = new_dictionary(TopKConfig(d_in=64, d_sae=16, k=2))
    wide.fold([1.0], [1.0])
    for name, made in (("right", dictionary), ("wrong", wide)):
        export_dictionary(made, tmp_path / name, "saelens", sites=run.sites_at([OUT]))
    with pytest.raises(UserError, match="has width 128"):
        run.do("import", source=str(tmp_path / "wrong"))
    assert run.config.hook is None and run.sites.hooks == (POST,)
    run.do("import", source=str(tmp_path / "right"))
    assert run.sites.hooks == (OUT,) and run.reader.d_in == 128
    assert run.manifest("dictionary").inputs["hook"] == OUT
    opened = Run.open(run.workspace)
    assert opened.is_done(opened.stage("import"))
