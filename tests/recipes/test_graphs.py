"""Graphs of prompts in a workspace: made once, printed, exported, and refused where they cannot be."""

import json

import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.graphs.exported import cantor
from sparselex.evaluate.graphs.records import graph_of, graphs_in
from sparselex.recipes.graphs import GraphOptions, trace_prompt
from tests.support.command import done, sparselex
from tests.support.graphs import PROMPT, graph_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return graph_workspace(tmp_path_factory.mktemp("graphs"))


def test_a_prompt_is_traced_once(workspace):
    options = GraphOptions(prompt=PROMPT, n_checked=4)
    found = trace_prompt(workspace, options)
    file = workspace.path / "graphs" / options.called / "graph.json"
    made = file.stat().st_mtime_ns
    assert trace_prompt(workspace, options) == found == graph_of(workspace.path, options.called)
    assert file.stat().st_mtime_ns == made and options.called in graphs_in(workspace.path)
    assert found.gap < 1e-4 and found.covered == [0] and found.first == 0
    kinds = [node.kind for node in found.nodes]
    assert kinds.count("input") == len(found.tokens) and kinds.count("output") >= 1
    assert "".join(found.texts).endswith(PROMPT)
    figures = {figure.name: figure for figure in found.figures}
    replacement = figures["graph/replacement"]
    assert replacement.null is not None and 0 < replacement.null < 1 and 0 < replacement.value <= 1
    # One block: nothing but what its features write changes the logits, as the graph says.
    assert figures["graph/held_in_replacement"].value == 1.0
    assert figures["graph/held_in_model"].n == len(found.claims) > 0


def test_every_output_is_what_its_edges_and_bias_say_where_nothing_is_pruned(workspace):
    found = trace_prompt(
        workspace, GraphOptions(prompt=PROMPT, node_share=1.0, edge_share=1.0, n_checked=0, name="all")
    )
    assert found.figure("graph/held_in_model").failure == "nothing was checked"
    for number, node in enumerate(found.nodes):
        if node.kind in ("output", "feature"):
            parts = sum(weight for _, target, weight in found.edges if target == number)
            assert parts + node.bias == pytest.approx(node.value, abs=1e-3)


def test_the_command_prints_scores_with_their_nulls_and_exports(workspace, tmp_path):
    file = tmp_path / "graph.json"
    said = done("graph", workspace.path, "--prompt", PROMPT, "--n-checked", 4, "--export", file).out
    for name in ("replacement: ", "completeness: ", "held in replacement: ", "held in model: ", "null ", "/graphs/"):
        assert name in said
    found = graph_of(workspace.path, graphs_in(workspace.path)[-1])
    values = json.loads(file.read_text())
    assert values.keys() == {"metadata", "qParams", "nodes", "links"}
    ids = [node["node_id"] for node in values["nodes"]]
    assert len(set(ids)) == len(ids) and {link["source"] for link in values["links"]} <= set(ids)
    feature = next(node for node in values["nodes"] if node["feature_type"] == "cross layer transcoder")
    layer, latent, position = map(int, feature["node_id"].split("_"))
    assert feature["feature"] == cantor(layer, latent) and feature["ctx_idx"] == position
    assert sum(node["is_target_logit"] for node in values["nodes"]) == 1
    assert len(values["links"]) == len(found.edges)
    assert values["metadata"]["prompt_tokens"] == found.texts


@pytest.mark.parametrize(
    ("name", "said"),
    [(".", "is a folder"), ("nowhere/x.json", "There is no folder"), ("mine.txt", "is no graph of that form")],
)
def test_a_file_of_the_readers_own_is_not_written_over(workspace, tmp_path, name, said):
    """And it is told before anything is traced; an export may be written again."""
    (tmp_path / "mine.txt").write_text("[1]")
    ended = sparselex("graph", workspace.path, "--prompt", "x y z", "--as", "never", "--export", tmp_path / name)
    assert ended.code == 2 and said in ended.err.replace("\n", " ")
    assert (tmp_path / "mine.txt").read_text() == "[1]" and "never" not in graphs_in(workspace.path)
    for _ in range(2):
        done("graph", workspace.path, "--prompt", PROMPT, "--n-checked", 4, "--export", tmp_path / "graph.json")


def test_json_is_the_record(workspace):
    found = done("graph", workspace.path, "--prompt", PROMPT, "--n-checked", 4, "--json").json
    assert found["asked"]["prompt"] == PROMPT


def test_another_graph_of_a_name_is_replaced_only_when_it_is_told_so(workspace):
    asked = ("graph", workspace.path, "--as", "kept", "--n-checked", 0, "--prompt")
    first = done(*asked, PROMPT, "--json").json
    assert done(*asked, PROMPT, "--json").json == first
    refused = sparselex(*asked, "class Other:")
    assert refused.code == 2 and "There is a graph 'kept' already" in refused.err and "--replace" in refused.err
    assert PROMPT.split("\n")[0] in refused.err
    assert graph_of(workspace.path, "kept").to_json() == first
    with pytest.raises(UserError, match=r"node_share=0\.8"):
        trace_prompt(workspace, GraphOptions(prompt=PROMPT, name="kept", n_checked=0, node_share=0.5))
    replaced = done(*asked, "class Other:", "--replace", "--json").json
    assert replaced["asked"]["prompt"] == "class Other:" and graph_of(workspace.path, "kept").to_json() == replaced


def test_a_graph_that_is_not_as_it_was_written_is_not_shown(workspace):
    asked = ("graph", workspace.path, "--as", "changed", "--n-checked", 0, "--prompt", PROMPT)
    done(*asked)
    file = workspace.path / "graphs" / "changed" / "graph.json"
    file.write_bytes(file.read_bytes().replace(b"0.1", b"0.9"))
    for more in ((), ("--json",)):
        ended = sparselex(*asked, *more)
        assert ended.code == 2 and f"{file} is damaged" in ended.err and not ended.out


def test_without_a_prompt_it_is_said_to_give_one(workspace):
    nothing = sparselex("graph", workspace.path)
    assert nothing.code == 2 and "give --prompt TEXT" in nothing.err and "--node-share" not in nothing.err
    empty = sparselex("graph", workspace.path, "--prompt", "")
    assert empty.code == 2 and "a prompt has words" in empty.err and "--node-share" not in empty.err
    assert "The text. Required." in " ".join(done("graph", "--help").out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": ("nobody",)}, "nobody"),
        ({"name": "a/b"}, "cannot be the name"),
    ],
)
def test_what_cannot_be_traced_is_refused(workspace, options, message):
    with pytest.raises(UserError, match=message):
        trace_prompt(workspace, GraphOptions(prompt=PROMPT, **options))
