"""A task in a model that was made by hand: what is patched, where it is found, and the three tests there."""

import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.edits import bound, put
from sparselex.causal.where import at
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.evaluate.supervised.circuit import find_circuit
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.general import General, Rows, read_general
from sparselex.evaluate.supervised.nodes import Bench, Node, read_nodes, said_by
from sparselex.evaluate.supervised.pairs import drawn
from sparselex.evaluate.supervised.place import at_place, read_all
from sparselex.evaluate.supervised.records import Place, TaskResult, passes
from sparselex.evaluate.supervised.rows import OfRun
from sparselex.evaluate.supervised.tested import supervised_rows
from sparselex.evaluate.supervised.walk import put_to_task
from tests.support.copier import copier, task

SMALL = TaskConfig(
    n_fit=500, n_test=64, n_circuit=48, kinds=("topk",), l0s=(3,), n_tokens=50_000, n_seeds=2, budgets=(1, 2, 8)
)
END = Node.parse("blocks.0.hook_resid_post@end")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return copier(tmp_path_factory.mktemp("copier"))


@pytest.fixture(scope="module")
def prompts(model):
    return drawn(task(), model.tokenizer, SMALL)


def whole(model, prompts, edits):
    """What the model says, by a pass over all prompts at once."""
    last = model.last(torch.from_numpy(prompts.tokens), bound(edits))
    return said_by(model, prompts, last[torch.arange(len(prompts)), torch.from_numpy(prompts.ends)])


@pytest.mark.parametrize("nodes", [[END], ["blocks.0.attn.hook_v:0@IO", "blocks.0.attn.hook_z:1@end"]])
def test_what_is_put_is_what_a_whole_pass_with_it_gives(model, prompts, nodes):
    nodes = [Node.parse(str(node)) for node in nodes]
    bench = Bench(model, prompts.test, nodes)
    values = {node: value.flip(0) for node, value in read_nodes(model, prompts.test, nodes).items()}
    edits = sum((put(n.hook, v, at(torch.from_numpy(prompts.test.roles[n.role]))) for n, v in values.items()), start=())
    found, expected = bench.with_values(values), whole(model, prompts.test, edits)
    np.testing.assert_allclose(found.difference, expected.difference, atol=1e-3)
    assert (found.token == expected.token).all()
    assert (bench.clean.token == prompts.test.answers).all()


def test_values_put_at_once_are_what_each_gives_alone_and_equal_ones_are_computed_once(model, prompts, monkeypatch):
    nodes = [Node.parse("blocks.0.attn.hook_v:0@IO"), Node.parse("blocks.0.attn.hook_z:1@end")]
    bench, there = Bench(model, prompts.test, nodes), read_nodes(model, prompts.test, nodes)
    half = torch.arange(len(prompts.test))[:, None] % 2 == 0
    one = {node: value.flip(0) for node, value in there.items()}
    other = {node: torch.where(half, value, there[node]) for node, value in one.items()}
    none = {nodes[0]: one[nodes[0]], nodes[1]: torch.zeros_like(one[nodes[1]])}
    expected, computed = [bench.with_values(values) for values in (one, other, none)], []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda last: computed.append(len(last)) or predict(last))
    found = bench.with_each([one, other, none, one])
    for says, wanted in zip(found, [*expected, expected[0]], strict=True):
        np.testing.assert_allclose(says.difference, wanted.difference, atol=1e-4)
        assert (says.token == wanted.token).all()
    assert sum(computed) == 2.5 * len(prompts.test)


def test_the_truth_at_the_end_is_the_changed_prompt(model, prompts):
    changed = prompts.changed["IO"]
    there = read_nodes(model, changed, [END])
    found = Bench(model, prompts.test, [END]).with_values(there)
    assert (found.token == changed.answers).all()


def test_the_planted_circuit_is_found_and_both_ways_of_patching_agree(model, prompts):
    found = find_circuit(model, task(), prompts.test, prompts.corrupted, SMALL)
    heads = {(head.hook, head.role): head for head in found.heads if head.corruption == "names"}
    taken_away = heads["blocks.0.attn.hook_z:1", "end"]
    assert taken_away.looks_at["S2"] == pytest.approx(1, abs=1e-3) and taken_away.direct == pytest.approx(
        taken_away.effect
    )
    assert taken_away.kind == "writes the answer, looks at S2"
    assert heads["blocks.0.attn.hook_v:1", "S2"].effect == pytest.approx(taken_away.effect, abs=1e-3)
    assert heads["blocks.0.attn.hook_v:0", "IO"].effect > 0.3
    assert {role for _, role in heads} <= {"IO", "S1", "S2", "end"}, "nothing is read of other tokens"
    for head in (*found.heads, *found.below):
        assert np.sign(head.estimate) == np.sign(head.effect) or abs(head.effect) < 0.05
    assert max(abs(head.effect) for head in found.below) < 0.05


def test_what_patching_a_head_gives_back_has_its_interval_over_prompts(model, prompts):
    found = find_circuit(model, task(), prompts.test, {"names": prompts.corrupted["names"]}, SMALL)
    clean, asked = prompts.test, replace(prompts.corrupted["names"], answers=prompts.test.answers)
    asked = replace(asked, others=clean.others, roles=clean.roles)
    for head in found.heads[:4]:
        node = Node(Hook(head.hook), head.role)
        value = read_nodes(model, clean, [node])[node]
        edits = put(node.hook, value, at(torch.from_numpy(clean.roles[node.role])))
        before, after = whole(model, asked, ()).difference, whole(model, asked, edits).difference
        back, span = after - before, whole(model, clean, ()).difference - before
        assert head.effect == pytest.approx(back.sum() / span.sum(), abs=1e-4)
        each = [np.delete(back, one).sum() / np.delete(span, one).sum() for one in range(len(back))]
        se = np.sqrt((len(back) - 1) / len(back) * np.square(np.array(each) - head.effect).sum())
        assert head.ci_high - head.effect == pytest.approx(head.effect - head.ci_low)
        assert 1.9 * se < head.ci_high - head.effect < 2.5 * se


def test_a_corruption_that_takes_nothing_is_told(model, prompts):
    found = find_circuit(model, task(), prompts.test, {"nothing": prompts.test}, SMALL)
    (figure,) = found.missed
    assert not found.heads and figure.value is None and "less than a tenth of the logit difference" in figure.failure


def test_a_perfect_dictionary_scores_one_and_an_empty_one_nothing(model, prompts):
    read = dict(read_all(model, prompts, [END]))
    where = at_place(model, prompts, Place(name="end", words="", nodes=(str(END),)), "x", read)
    rows, gates = supervised_rows(where, SMALL, task().parametrisations)
    supervised, shuffles = rows[0], rows[-1]
    assert [row.name for row in rows] == [*gates, "shuffled labels"]
    assert passes(gates["supervised"]) and passes(gates["supervised, coupled"]), gates
    assert supervised.sufficiency.value == pytest.approx(1, abs=0.08), "the last norm is not linear"
    assert supervised.necessity.value == pytest.approx(1, abs=0.08)
    (edit,) = supervised.edits
    assert edit.attribute == "IO" and edit.agreement.value > 0.95 and edit.agreement.null == 0
    assert set(where.undecided) == {"S", "Pos"} and "100%" in where.undecided["Pos"]
    assert shuffles.edits[0].agreement.value < 0.2 and abs(shuffles.necessity.value) < 0.2


def random_text(model):
    """Text in which nothing hangs together."""
    chance = torch.Generator().manual_seed(0)

    def rows(n_tokens):
        tokens = torch.randint(model.n_vocab, (n_tokens // 15 + 1, 16), generator=chance)
        return Rows(tokens, torch.ones_like(tokens, dtype=torch.bool))

    return General("random", "random text", rows)


def test_general_text_is_read_at_every_token_but_the_first_and_once(model, tmp_path):
    hooks = [END.hook, Hook("blocks.0.attn.hook_z:1")]
    text = random_text(model)
    found = read_general(model, text, hooks, 100, tmp_path / "g", {})
    tokens = random_text(model).rows(100).tokens
    expected = model.read(tokens, hooks)[hooks[1]][:, 1:].flatten(0, 1)[:100]
    node = Node(hooks[1], "IO")
    torch.testing.assert_close(found.at([node])[node], expected)
    never = General("random", "random text", lambda n_tokens: pytest.fail("it is there"))
    assert read_general(model, never, hooks, 100, tmp_path / "g", {}).id == found.id


def test_a_text_that_is_hardly_one_is_refused_and_what_was_read_is_told(model, tmp_path):
    short = General("short", "a note", lambda n_tokens: random_text(model).rows(60))
    with pytest.raises(UserError, match=r"a note has \d+ tokens that can be read"):
        read_general(model, short, [END.hook], 2_000, tmp_path / "g", {})
    assert not (tmp_path / "g").exists()
    some = General("some", "a letter", lambda n_tokens: random_text(model).rows(600))
    read = read_general(model, some, [END.hook], 2_000, tmp_path / "g", {})
    assert read.words == f"{len(read.at([END])[END]):,} tokens of a letter"


def test_what_the_disk_refuses_is_told_as_the_system_says_it(model, tmp_path):
    hook, text = Hook("blocks.0.attn.hook_z:1"), random_text(model)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"Writing .*g failed: File too large(?s:.*)put that right"):
            read_general(model, text, [hook], 2000, tmp_path / "g", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "g").exists()
    assert read_general(model, text, [hook], 2000, tmp_path / "g", {}).id


@pytest.mark.slow
def test_the_walk_is_resumed_and_its_figures_are_all_there(model, tmp_path):
    config = SMALL.model_copy(update={"places": (str(END), "blocks.0.attn.hook_z:1@end")})
    found = put_to_task(model, task(), config, tmp_path / "t", general=random_text(model))
    names = [row.name for row in found.tested[0].rows]
    assert names[:4] == ["supervised", "supervised, mean", "supervised, coupled", "supervised, names"]
    assert names[4:7] == ["shuffled labels", "topk", "frozen decoder"]
    assert names[7:] == ["topk, general text", "pca", "neurons", "random"]
    rows = {row.name: row for row in found.tested[0].rows}
    by_k = {e.k: e.agreement.value for e in rows["topk"].edits if e.way == "greedy"}
    frozen = {e.k: e.agreement.value for e in rows["frozen decoder"].edits if e.way == "greedy"}
    assert by_k[2] > 0.4 and by_k[2] - frozen[2] > 0.4, "fewer steps than it takes to be good"
    f1 = rows["topk"].meanings[0].f1
    assert f1.value > 0.5 and f1.value > f1.null + 0.1
    written = json.loads((tmp_path / "t" / "summary" / "figures.json").read_text())["figures"]
    assert all(one["n"] and (one["value"] is None) == (one["failure"] is not None) for one in written)
    assert len({one["name"] for one in written}) == len(written), "a name is one figure's"
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").rglob("manifest.json")}
    (tmp_path / "t" / "summary" / "manifest.json").unlink()
    (tmp_path / "t" / "summary" / "task.json").unlink()
    (tmp_path / "t" / "summary" / "figures.json").unlink()
    (tmp_path / "t" / "summary").rename(tmp_path / "gone")
    again = put_to_task(model, task(), config, tmp_path / "t", general=random_text(model))
    assert again == found == TaskResult.read(tmp_path / "t" / "summary")
    for path, written_at in kept.items():
        assert path.parent.name == "summary" or path.stat().st_mtime_ns == written_at, "nothing is made again"


def test_a_dictionary_of_a_run_is_tested_at_its_own_site(model, tmp_path):
    values = torch.randn(600, model.width(END.hook), generator=torch.Generator().manual_seed(0))
    dictionary = principal_components(values.mean(0), torch.cov(values.T), values.shape[1])
    run = OfRun("mine", Hook("blocks.0.hook_resid_post"), dictionary, "abc")
    config = SMALL.model_copy(update={"places": ("blocks.0.attn.hook_z:1@end",), "n_seeds": 1, "n_tokens": 2_000})
    found = put_to_task(model, task(), config, tmp_path / "t", runs=[run])
    assert [one.place.name for one in found.tested] == ["blocks.0.attn.hook_z:1@end", str(END)]
    assert [row.name for row in found.tested[0].rows].count("run mine") == 0
    (row,) = [row for row in found.tested[1].rows if row.name == "run mine"]
    assert row.sufficiency.value == pytest.approx(1, abs=1e-3) and row.fvu < 1e-6, "a basis keeps everything"
    assert (row.run, row.dictionary) == ("mine", "abc")
    for meaning in row.meanings:
        assert np.mean([one.f1 for one in meaning.latents]) == pytest.approx(meaning.f1.value)
        assert np.mean([one.null for one in meaning.latents]) == pytest.approx(meaning.f1.null)
        assert all(0 <= one.latent < values.shape[1] for one in meaning.latents)
    assert not any(meaning.latents for other in found.tested[1].rows if not other.run for meaning in other.meanings)
    circuit = (tmp_path / "t" / "circuit" / "manifest.json").stat().st_mtime_ns
    other = put_to_task(model, task(), config, tmp_path / "t", runs=[run._replace(id="def")])
    rows = [one.model_copy(update={"dictionary": "abc"}) if one.run else one for one in other.tested[1].rows]
    assert rows == found.tested[1].rows and [one.dictionary for one in other.tested[1].rows if one.run] == ["def"]
    assert (tmp_path / "t" / "circuit" / "manifest.json").stat().st_mtime_ns == circuit, "it is not looked for again"


def test_a_model_that_cannot_do_the_task_is_told_so(model, prompts):
    others = prompts.test.__class__(
        **{**vars(prompts.test), "answers": prompts.test.others, "others": prompts.test.answers}
    )
    with pytest.raises(
        UserError, match=r"says the answer of 'ioi' before the other on 0 % of 64 prompts \(chance gives 50 %\)"
    ):
        find_circuit(model, task(), others, prompts.corrupted, SMALL)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("blocks.0.hook_resid_post@nowhere", "names the role 'nowhere'"),
        ("blocks.0.hook_resid_post", "names no place in a prompt"),
        ("blocks.7.hook_resid_post@end", "blocks.7"),
    ],
)
def test_places_that_are_none_are_refused(model, tmp_path, place, said):
    with pytest.raises(UserError, match=said):
        put_to_task(model, task(), SMALL.model_copy(update={"places": (place,)}), tmp_path / "t")
    assert not (tmp_path / "t" / "circuit").exists()


def test_what_is_asked_for_twice_is_done_once():
    asked = TaskConfig(kinds=("topk", "topk"), l1s=(1.0, 1.0000001, 2.0), places=("a@end", "a@end"))
    assert asked.kinds == ("topk",) and len(asked.l1s) == 2 and asked.places == ("a@end",)


def test_a_run_is_of_its_site_at_the_last_token_alone():
    run = OfRun("main", END.hook, None, "id")
    assert run.at([END]) and not run.at([Node(END.hook, "IO")]) and not run.at([END, Node(END.hook, "IO")])
