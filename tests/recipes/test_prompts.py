"""A run's dictionary on text that a person types, as a library and from the command line."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.causal.edits import bound, steer
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.where import since
from sparselex.causal.written import repeated
from sparselex.cli.main import main
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.load import load_model
from sparselex.recipes.prompts import Prompts
from sparselex.recipes.run import Run

TEXT = "def function_1(self, value):\n    return"


@pytest.fixture(scope="module")
def run(small_workspace):
    return Run.open(small_workspace)


@pytest.fixture(scope="module")
def codes(run):
    """Activations of every latent at every token of the text."""
    values = run.model.read(run.tokens(TEXT), run.sites.hooks)[run.sites.hooks[0]][0]
    with torch.no_grad():
        return run.dictionary.encode(values)


def test_tokens_are_those_of_a_row_of_the_corpus(run):
    row = run.corpus.tokens[run.corpus.row_ranges["train"].start]
    text = run.model.tokenizer.vocabulary.decode(row[1:20].tolist())
    found = run.tokens(text)
    assert found[0, 0] == run.corpus.bos_id and found.shape[0] == 1
    assert run.model.tokenizer.vocabulary.decode(found[0].tolist()) == text


def test_the_latents_of_a_text(run, codes):
    found = run.latents(TEXT, 3)
    assert [token.token for token in found.tokens] == run.tokens(TEXT)[0].tolist()
    assert found.tokens[0].latents == [] and found.tokens[0].n_active == 0, "a dictionary was never shown BOS"
    for token in found.tokens[1:]:
        best = codes[token.position].topk(3)
        assert [one.activation for one in token.latents] == pytest.approx([v for v in best.values.tolist() if v > 0])
        assert [one.latent for one in token.latents] == best.indices[best.values > 0].tolist()
        assert token.n_active == int((codes[token.position] > 0).sum())
    lines, first = str(found).splitlines(), found.tokens[1]
    assert len(lines) == len(found.tokens)
    assert f"{first.text!r}" in lines[1] and f"{first.latents[0].latent}:" in lines[1]


def strongest(codes):
    return int(codes[1:].amax(0).argmax())


def test_what_the_model_predicts_without_a_latent(run, codes):
    """Against the slow obvious version."""
    latent, row = strongest(codes), run.tokens(TEXT)
    found = run.prompts.ablated(TEXT, latent)
    acts = codes[:, latent].clone()
    acts[0] = 0
    hook = run.sites.hooks[0]
    direction = run.dictionary.W_dec.detach()[latent]
    without = run.model.run(row, edits={hook: lambda x: x - acts[:, None] * direction}).logits[0].double()
    p, q = run.model.run(row).logits[0].double().log_softmax(-1), without.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    assert [token.kl for token in found.tokens] == pytest.approx(kl.tolist(), abs=1e-6)
    assert max(token.kl for token in found.tokens) > 1e-4
    targets = row[0, 1:]
    rises = (p - q)[:-1].gather(-1, targets[:, None])[:, 0]
    assert [token.loss for token in found.tokens[:-1]] == pytest.approx(rises.tolist(), abs=1e-5)
    assert found.tokens[-1].loss is None
    place = max(range(1, len(kl)), key=lambda one: kl[one])
    change = (q.exp() - p.exp())[place].abs()
    assert found.tokens[place].changed[0].token == int(change.argmax())
    assert found.tokens[place].activation == pytest.approx(float(codes[place, latent]))
    with pytest.raises(UserError, match="0 tokens were to be shown"):
        run.prompts.ablated(TEXT, latent, n_shown=0)


def no_others(latent):
    raise AssertionError(f"the activations of latent {latent} elsewhere were asked for")


def test_nothing_but_the_prompt_is_read(run):
    """The norms by which attention sinks are told are those noted in training, to the last bit: measured anew for each
    command, they took longer than all that was asked for."""
    again = Run.open(run.workspace)
    assert again.latents(TEXT).tokens
    assert "reader" not in vars(again)
    assert again.manifest("dictionary").notes["median_norms"] == again.reader.median_norms.tolist()


@pytest.mark.parametrize("to", ["zero", "mean", "resample", 0.7])
def test_a_latent_at_other_activations(run, codes, capsys, to):
    """Against the slow obvious version: its mean, and draws that come from its activations at training tokens."""
    latent, row, hook = strongest(codes), run.tokens(TEXT), run.sites.hooks[0]
    found = run.prompts.ablated(TEXT, latent, to=to, seed=3)
    column, statistics = run.index.split_column(latent, "train")[1], run.index.record(latent).statistics["train"]
    after = torch.tensor([token.to for token in found.tokens])
    assert after[0] == 0, "BOS is left alone"
    if to == "resample":
        every = np.concatenate([column, np.zeros(statistics.n_tokens - len(column), dtype=np.float32)])
        draws = torch.randint(len(every), (run.model.n_ctx,), generator=torch.Generator().manual_seed(3))
        assert after[1:].numpy() == pytest.approx(every[draws[1 : len(after)]])
        three, four = (run.edits.amount(latent, to, seed) for seed in (3, 4))
        assert three.count_nonzero() and not three.equal(four)
    else:
        expected = {"zero": 0.0, "mean": statistics.mean}.get(to, to)
        assert after[1:].tolist() == pytest.approx([expected] * (len(after) - 1), rel=1e-5)
    more = after - codes[:, latent]
    more[0] = 0
    direction = run.dictionary.W_dec.detach()[latent]
    changed = run.model.run(row, edits={hook: lambda x: x + more[:, None] * direction}).logits[0].double()
    p, q = run.model.run(row).logits[0].double().log_softmax(-1), changed.log_softmax(-1)
    assert [token.kl for token in found.tokens] == pytest.approx((p.exp() * (p - q)).sum(-1).tolist(), abs=1e-5)
    edits = run.edits.ablate(latent, to=to, seed=3)
    torch.testing.assert_close(run.model.run(row, edits=bound(edits)).logits[0].double(), changed, rtol=1e-4, atol=1e-4)
    if isinstance(to, str):
        words = ["ablate", str(run.workspace.path), "--latent", str(latent), "--prompt", TEXT, "--seed", "3"]
        words += ["--to", to]
        assert json.loads(printed(capsys, [*words, "--json"])) == found.to_json()
        assert ("becomes" in printed(capsys, words)) == bool(after.any())


def test_each_row_has_its_own_latent_at_other_tokens(run, codes):
    latents = torch.tensor([strongest(codes), 3])
    for to in ("mean", "resample"):
        both = run.edits.amount(latents, to, 5)
        alone = [run.edits.amount(int(one), to, 5) for one in latents]
        assert both.equal(torch.cat(alone)) and len(both) == 2
    assert run.edits.amount(3, "resample", [5, 6]).shape[0] == 2
    with pytest.raises(UserError, match="zero, mean or resample"):
        run.edits.ablate(3, to="median")


def test_the_text_that_is_written_under_edits(run, codes):
    latent, row = strongest(codes), run.tokens(TEXT)
    edits = run.edits.steer(latent, 40.0)
    text = row
    for _ in range(6):
        logits = run.model.run(text, edits=bound(edits)).logits
        text = torch.cat([text, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    expected = run.model.tokenizer.vocabulary.decode(text[0, row.shape[1] :].tolist())
    assert run.generate(TEXT, 6, edits=edits) == expected
    assert run.generate(TEXT, 6) == run.prompts.steered(TEXT, {latent: 40.0}, n_new=6).plain
    assert run.prompts.steered(TEXT, {latent: 40.0}, n_new=6).steered == expected
    for none in (
        run.edits.splice(error=True),
        run.edits.scale(latent, 1.0),
        run.edits.clamp(latent, 3.0, since(row.shape[1] + 5)),
    ):
        assert run.generate(TEXT, 6, edits=none) == run.generate(TEXT, 6)
    assert run.edits.ablate(latent)[0].where.tokens(1, 0, 3).tolist() == [[False, True, True]]


@pytest.mark.parametrize("target", [0.05, 0.5])
def test_steered_to_a_divergence(run, codes, target):
    by = {strongest(codes): 1.0, 3: -0.5}
    found = run.prompts.steered(TEXT, by, kl=target, n_new=2)
    assert found.kl == pytest.approx(target, rel=0.02)
    row = run.tokens(TEXT)
    edits = sum((run.edits.steer(latent, found.by[n]) for n, latent in enumerate(by)), start=())
    p, q = (run.model.run(row, edits=one).logits[0].log_softmax(-1) for one in (None, bound(edits)))
    assert float((p.exp() * (p - q)).sum(-1)[1:].mean()) == pytest.approx(found.kl, rel=1e-3)


def test_what_is_written_is_judged_by_the_model_itself(run, codes):
    """Against the slow obvious version: cross-entropy without edits, and where the steering bends what is predicted."""
    latent, start = strongest(codes), run.tokens(TEXT).shape[1]
    found = run.prompts.steered(TEXT, {latent: 40.0}, n_new=9)
    for written, text, edits in (
        (found.steered_written, found.steered, run.edits.steer(latent, 40.0)),
        (found.plain_written, found.plain, ()),
    ):
        row = torch.tensor([[token.token for token in written.tokens]])
        assert run.model.tokenizer.vocabulary.decode(row[0, start:].tolist()) == text
        assert [token.new for token in written.tokens] == [n >= start for n in range(row.shape[1])]
        p, q = (run.model.run(row, edits=one).logits[0].log_softmax(-1) for one in (None, bound(edits)))
        loss = -p[:-1].gather(-1, row[0, 1:, None])[:, 0]
        assert [token.loss for token in written.tokens[1:]] == pytest.approx(loss.tolist(), abs=1e-4)
        assert written.loss == pytest.approx(float(loss[start - 1 :].mean()), abs=1e-4)
        kl = (p.exp() * (p - q)).sum(-1)
        assert [token.kl for token in written.tokens] == pytest.approx(kl.tolist(), abs=1e-4)
    assert max(token.kl for token in found.steered_written.tokens) > 0.01


@pytest.mark.parametrize(
    ("tokens", "share"), [([1, 2, 3], None), ([1, 2, 3, 4, 5], 0), ([7] * 8, 0.8), ([1, 2, 3, 4, 1, 2, 3, 4], 0.2)]
)
def test_how_much_repeats_itself(tokens, share):
    assert repeated(tokens) == (None if share is None else pytest.approx(share))


def test_a_row_of_the_corpus_is_a_text_too(run, codes):
    latent = strongest(codes)
    assert run.prompts.ablated(run.tokens(TEXT), latent) == run.prompts.ablated(TEXT, latent)


def printed(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    return capsys.readouterr().out


def test_from_the_command_line(run, codes, capsys, tmp_path):
    latent, folder = strongest(codes), str(run.workspace.path)
    largest = run.index.record(latent).statistics["train"].max
    found = json.loads(
        printed(
            capsys,
            ["steer", folder, "--latent", str(latent), "--strength", "3", "--prompt", TEXT, "--tokens", "5", "--json"],
        )
    )
    assert found["by"] == pytest.approx([3 * largest])
    assert found["steered"] == run.prompts.steered(TEXT, {latent: 3 * largest}, n_new=5).steered
    said = printed(capsys, ["steer", folder, "--latent", str(latent), "--prompt", TEXT, "--tokens", "5"])
    assert "plain" in said and "steered" in said and "KL" in said and "nats a token" in said
    hook = run.sites.hooks[0]
    vector = torch.randn(run.model.width(hook), generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "v.npy", vector.numpy())
    save_file({"v": vector}, tmp_path / "v.safetensors")
    texts = []
    for name in ("v.npy", "v.safetensors"):
        texts.append(
            json.loads(
                printed(
                    capsys,
                    ["steer", folder, "--direction", str(tmp_path / name), "--prompt", TEXT, "--tokens", "5", "--json"],
                )
            )
        )
    assert texts[0] == texts[1]
    norm = run.model.read(run.tokens(TEXT), [hook])[hook][0, 1:].norm(dim=-1).mean()
    assert texts[0]["kl"] == pytest.approx(run.prompts.steered(TEXT, 2 * norm * vector / vector.norm(), n_new=1).kl)
    assert (
        json.loads(printed(capsys, ["ablate", folder, "--latent", str(latent), "--prompt", TEXT, "--json"]))
        == run.prompts.ablated(TEXT, latent).to_json()
    )
    assert "KL" in printed(capsys, ["ablate", folder, "--latent", str(latent), "--prompt", TEXT])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latent", "99999", "--prompt", "x"], "a latent from 0 to"),
        (["--latent", "-1", "--prompt", "x"], "a latent from 0 to"),
        (["--latent", "9" * 30, "--prompt", "x"], "a latent from 0 to"),
        (["--latent", "1", "--prompt", "x", "--seed", "9" * 30], "was given as a seed"),
        (["--latent", "1", "--prompt", "x", "--temperature", "nan"], "a finite temperature"),
        (["--prompt", "x"], "Neither a latent nor a direction"),
        (["--latent", "1", "--prompt", ""], "has no tokens"),
        (["--latent", "1", "--prompt", "x " * 5000], "The prompt has"),
        (["--latent", "1", "--prompt", "x", "--strength", "inf"], "leaves values too large"),
        (["--latent", "1", "--prompt", "x", "--strength", "0"], "Nothing was to be added"),
        (["--latent", "1", "--prompt", "x", "--strength", "1,x"], "'x' was given as a strength"),
        (["--latent", "1", "--latent", "2", "--prompt", "x", "--strength", "1,2,3"], "3 strengths were given for 2"),
        (["--latent", "1", "--latent", "1", "--prompt", "x"], "Latent 1 was named twice"),
        (["--latent", "1", "--prompt", "x", "--strength", "1", "--strength", "2"], "2 strengths were given for 1"),
        (["--latent", "1", "--prompt", "x", "--kl", "1e9"], "No strength reaches"),
        (["--latent", "1", "--prompt", "x", "--kl", "0"], "a number above 0"),
        (["--latent", "1", "--prompt", "x", "--tokens", "100000"], "at most"),
        (["--latent", "1", "--prompt", "x", "--run", "nobody"], "nobody"),
        (["--direction", "there.npy", "--prompt", "x"], "is not there"),
    ],
)
def test_what_cannot_be_steered_is_one_message(run, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["steer", str(run.workspace.path), *words])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((64, 2), np.float32), "of the shape [64, 2]"),
        (np.ones(128, np.complex64), "type complex64"),
        (np.array(3.0), "of the shape []"),
        (np.array(["a"] * 128), "no numbers in the form of NumPy"),
        (np.ones(7), "holds 7 numbers"),
        (np.full(128, np.nan), "128 of them not finite"),
    ],
    ids=["table", "complex", "number", "words", "short", "nan"],
)
def test_a_file_that_holds_no_direction_is_one_message(run, tmp_path, capsys, values, said):
    np.save(tmp_path / "direction.npy", values)
    with pytest.raises(SystemExit) as ended:
        main(["steer", str(run.workspace.path), "--direction", str(tmp_path / "direction.npy"), "--prompt", "x = 1"])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_tokens_that_a_dictionary_is_not_shown_are_left_alone(run, codes):
    """An attention sink among them: not told, not ablated, not steered, not counted in a divergence."""
    row = run.tokens(TEXT)
    latent = int(codes[1:].amax(0).argmax())
    place = int(codes[1:, latent].argmax()) + 1
    counted = torch.arange(row.shape[1]) != place
    prompts = Prompts(run.prompts.model, run.prompts.latents, run.prompts.bos, lambda values: counted, no_others)
    told = prompts.top(TEXT).tokens[place]
    assert not told.counted and told.latents == [] and told.n_active == 0
    assert "left out" in str(prompts.top(TEXT)).splitlines()[place]
    assert prompts.ablated(TEXT, latent).tokens[place].activation == 0
    assert prompts.ablated(TEXT, latent).tokens[place].kl == pytest.approx(0, abs=1e-6)  # one layer: of its own alone
    where = since(1).within(counted[None])
    p, q = (
        run.model.run(row, edits=one).logits[0].log_softmax(-1)
        for one in (None, bound(steer(prompts.latents, latent, 9.0, where)))
    )
    kl = (p.exp() * (p - q)).sum(-1)[1:][counted[1:]].mean()
    found = prompts.steered(TEXT, {latent: 9.0}, n_new=3)
    assert found.kl == pytest.approx(float(kl), rel=1e-3)
    every = torch.cat([counted, torch.ones(9, dtype=torch.bool)])[None]
    steering = steer(prompts.latents, latent, 9.0, since(1).within(every))
    assert found.steered == run.model.tokenizer.vocabulary.decode(
        generate(run.model, row, 3, edits=steering)[0, row.shape[1] :].tolist()
    )
    with pytest.raises(UserError, match="has no token that a dictionary is shown"):
        Prompts(
            prompts.model, prompts.latents, prompts.bos, lambda x: torch.zeros(len(x), dtype=torch.bool), no_others
        ).steered(TEXT, {latent: 1.0}, kl=0.5)


def test_two_models_have_no_text(run, monkeypatch):
    monkeypatch.setitem(run.__dict__, "model", object())
    run.__dict__.pop("prompts", None)
    with pytest.raises(UserError, match="reads two models side by side"):
        run.latents(TEXT)


SITES = {
    "a crosscoder": Sites.at("blocks.0.hook_mlp_out+blocks.0.hook_resid_post"),
    "a transcoder": Sites.at("blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"),
    "a cross-layer transcoder": Sites.at(
        "blocks.0.hook_resid_pre+blocks.0.hook_mlp_in", "blocks.0.hook_attn_out+blocks.0.hook_mlp_out"
    ),
}


@pytest.mark.parametrize("sites", SITES.values(), ids=SITES.keys())
def test_latents_of_several_sites_are_edited_by_what_they_are_on_a_text(sites):
    """Where activations cannot be read on the way, by those of the undisturbed model; against the slow obvious version,
    at the counted tokens alone, on the text and in what is written behind it."""
    model = load_model("embedded")
    width = model.d_model * len(sites.hooks)
    config = TopKConfig(d_in=width, d_out=width if sites.target else None, d_sae=64, k=8)
    dictionary = new_dictionary(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        dictionary.W_dec.normal_(generator=torch.Generator().manual_seed(2))
    latents = Latents.of(dictionary, model, sites)
    text = TEXT
    row = model.tokens(text)
    counted = torch.arange(row.shape[1]) % 3 != 1
    prompts = Prompts(model, latents, "auto", lambda values: counted, no_others)
    found = model.read(row, sites.hooks)
    with torch.no_grad():
        acts = dictionary.encode(torch.cat([found[hook] for hook in sites.hooks], dim=-1))[0]
    counted = counted & prompts.where.tokens(1, 0, row.shape[1])[0]
    latent = int((acts * counted[:, None]).amax(0).argmax())
    own, columns = acts[:, latent], model.d_model

    def by_hand(more):
        rows = {
            hook: dictionary.W_dec.detach()[latent, n * columns : (n + 1) * columns]
            for n, hook in enumerate(sites.written)
        }
        along = (more * counted)[:, None]
        return {hook: lambda x, one=one: x + along * one for hook, one in rows.items()}

    for made, more in (
        (prompts.edits.ablate(latent, text=text), -own),
        (prompts.edits.ablate(latent, to=2.0, text=text), 2 - own),
        (prompts.edits.clamp(latent, 9.0, text=text), 9 - own),
        (prompts.edits.scale(latent, 3.0, text=text), 2 * own),
        (prompts.edits.scale(latent, 3.0, since(4), text=text), 2 * own * (torch.arange(len(own)) >= 4)),
    ):
        expected = model.run(row, edits=by_hand(more)).logits
        torch.testing.assert_close(model.run(row, edits=bound(made)).logits, expected, rtol=1e-4, atol=1e-4)
    made = prompts.edits.clamp(latent, 60.0, text=text)
    first = int(model.run(row, edits=by_hand(60 - own)).logits[0, -1].argmax())
    assert int(generate(model, row, 4, edits=made)[0, row.shape[1]]) == first
    assert prompts.generate(text, 4, edits=made) != prompts.generate(text, 4)
    with pytest.raises(UserError, match=r"(?s)on the way.*`text=` in `run.edits`"):
        prompts.edits.scale(latent, 3.0)
    kl = prompts.ablated(text, latent).tokens
    p, q = (model.run(row, edits=one).logits[0].double().log_softmax(-1) for one in ({}, by_hand(-own)))
    expected = (p.exp() * (p - q)).sum(-1).tolist()
    assert [token.kl for token in kl] == pytest.approx(expected, rel=1e-5, abs=1e-6)
