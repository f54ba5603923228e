"""Edits equal those made by hand in a forward pass written by hand; batched ones equal single ones; nothing is changed
by steering by 0 or by splicing a dictionary that reconstructs perfectly."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.causal.edits import ablate, add, bound, clamp, put, resampled, scale, splice, steer
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.variants import variants
from sparselex.causal.where import EVERYWHERE, at, since
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.load import load_model

HOOK = "blocks.0.hook_mlp_out"
TOKENS = torch.randint(1, 4096, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def latents(model):
    dictionary = new_dictionary(TopKConfig(d_in=128, d_sae=256, k=8), torch.Generator().manual_seed(1))
    return Latents.of(dictionary, model, HOOK)


def by_hand(model, change):
    """The embedded model's logits, its stream and MLP computed step by step, `change` [3, 12, 128] -> the same made of
    what the MLP gives."""
    hf = model.hf
    layer = hf.gpt_neox.layers[0]
    stream = hf.gpt_neox.embed_in(TOKENS)
    rotary = hf.gpt_neox.rotary_emb(stream, torch.arange(12)[None])
    attended = layer.attention(layer.input_layernorm(stream), None, position_embeddings=rotary)[0]
    parallel = hf.config.use_parallel_residual
    read = stream if parallel else stream + attended
    written = change(layer.mlp(layer.post_attention_layernorm(read)))
    return hf.get_output_embeddings()(hf.gpt_neox.final_layer_norm(stream + attended + written))


def under(model, edits):
    return model.run(TOKENS, edits=bound(edits)).logits


def everywhere_and_some():
    """Each way to say where, and the same as a mask."""
    mask = torch.zeros(3, 12, dtype=torch.bool)
    yield "everywhere", EVERYWHERE, ~mask
    one = mask.clone()
    one[:, 4] = True
    yield "one position", at(4), one
    own = mask.clone()
    own[[0, 1, 2, 0, 1, 2], [3, 0, 11, 5, 5, 5]] = True
    yield "positions of each row", at(torch.tensor([3, 0, 11]), 5), own
    yield (
        "none in one row",
        at(torch.tensor([3, -1, 11])),
        mask.index_put((torch.tensor([0, 2]), torch.tensor([3, 11])), torch.tensor(True)),
    )
    yield "from one on", since(7), (torch.arange(12) >= 7).expand(3, -1)
    yield "from its own on", since(torch.tensor([1, 12, 6])), torch.arange(12) >= torch.tensor([[1], [12], [6]])
    chosen = torch.rand(3, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    yield "within a mask", since(2).within(chosen), chosen & (torch.arange(12) >= 2)


PLACES = list(everywhere_and_some())


@pytest.mark.parametrize(("where", "mask"), [place[1:] for place in PLACES], ids=[place[0] for place in PLACES])
def test_edits_are_what_is_written_by_hand(model, latents, where, mask):
    W_dec, encode = latents.dictionary.W_dec.detach(), latents.dictionary.encode
    act = lambda x, n: (
        encode(x.flatten(0, 1)).view(3, 12, -1).gather(-1, torch.as_tensor(n).view(-1, 1, 1).expand(3, 12, 1))
    )
    numbers = torch.tensor([3, 250, 17])
    rows, amounts = W_dec[numbers][:, None], torch.tensor([2.0, -1.0, 5.0])
    there = torch.randn(3, 12, 128, generator=torch.Generator().manual_seed(4))
    cases = {
        "zero": (put(HOOK, 0.0, where), lambda x: 0 * x),
        "mean": (put(HOOK, there[0, 0], where), lambda x: there[0, 0].expand_as(x)),
        "patch": (put(HOOK, there, where), lambda x: there),
        "add": (add(HOOK, there[0, 0], 0.5, where), lambda x: x + 0.5 * there[0, 0]),
        "add of each row": (
            add(HOOK, there[:, 0], amounts, where),
            lambda x: x + amounts[:, None, None] * there[:, :1],
        ),
        "splice": (splice(latents, where), lambda x: latents.dictionary(x.flatten(0, 1)).view_as(x)),
        "ablate": (ablate(latents, 17, where), lambda x: x - act(x, 17) * W_dec[17]),
        "ablate of each row": (ablate(latents, numbers, where), lambda x: x - act(x, numbers) * rows),
        "to the mean": (ablate(latents, 17, where, to=0.7), lambda x: x + (0.7 - act(x, 17)) * W_dec[17]),
        "clamp": (
            clamp(latents, numbers, amounts, where),
            lambda x: x + (amounts[:, None, None] - act(x, numbers)) * rows,
        ),
        "scale": (scale(latents, numbers, 3.0, where), lambda x: x + 2 * act(x, numbers) * rows),
        "steer": (steer(latents, numbers, amounts, where), lambda x: x + amounts[:, None, None] * rows),
        "two": (
            steer(latents, 5, 1.0, where) + scale(latents, 17, 0.0, where),
            lambda x: (x + W_dec[5]) - act(x + W_dec[5], 17) * W_dec[17],
        ),
    }
    with torch.no_grad():
        for name, (edits, change) in cases.items():
            expected = by_hand(model, lambda x, change=change: torch.where(mask[..., None], change(x), x))
            torch.testing.assert_close(under(model, edits), expected, rtol=1e-4, atol=1e-4, msg=name)


def test_nothing_is_changed_by_nothing(model, latents):
    plain = model.run(TOKENS).logits
    for edits in (
        steer(latents, 3, 0.0),
        splice(latents, error=True),
        scale(latents, 3, 1.0),
        put(HOOK, model.read(TOKENS, [HOOK])[HOOK]),
    ):
        torch.testing.assert_close(under(model, edits), plain)


def test_known_activations_are_those_of_the_undisturbed_model(model, latents):
    kept = model.keep(TOKENS, HOOK)
    acts = latents.dictionary.encode(kept.values.flatten(0, 1)).view(3, 12, -1)
    for how, known in (
        (ablate(latents, 17), ablate(latents, 17, known=acts[..., 17])),
        (scale(latents, 4, 3.0), scale(latents, 4, 3.0, known=acts[..., 4])),
    ):
        torch.testing.assert_close(under(model, how), under(model, known), rtol=1e-4, atol=1e-5)


def test_values_of_other_tokens(model, latents):
    """Drawn with putting back, evenly, by each row's own seed; what a token gets does not hang on how many follow."""
    values = model.read(TOKENS, [HOOK])[HOOK].flatten(0, 1)
    drawn = resampled(values, 12, [7, 8, 7])
    picked = [torch.randint(36, (12,), generator=torch.Generator().manual_seed(seed)) for seed in (7, 8, 7)]
    assert drawn.equal(values[torch.stack(picked)]) and resampled(values, 30, 7)[0, :12].equal(drawn[0])
    with torch.no_grad():
        expected = by_hand(model, lambda x: drawn)
        torch.testing.assert_close(under(model, put(HOOK, drawn)), expected, rtol=1e-4, atol=1e-4)
        acts = latents.dictionary.encode(values)[:, 17]
        to, W_dec = resampled(acts, 12, [1, 2, 3]), latents.dictionary.W_dec
        expected = by_hand(model, lambda x: x + (to - latents.dictionary.encode(x)[..., 17])[..., None] * W_dec[17])
        torch.testing.assert_close(under(model, ablate(latents, 17, to=to)), expected, rtol=1e-4, atol=1e-4)
    many = torch.bincount(resampled(torch.arange(4.0), 4000)[0].long())
    assert float(((many - 1000) ** 2 / 1000).sum()) < 17  # chi square of 3 degrees: 1 in 1,000
    with pytest.raises(UserError, match="were given to draw from"):
        resampled(torch.zeros(0), 3)
    with pytest.raises(UserError, match="was given as a seed"):
        resampled(torch.ones(4), 3, [1, 10**30])


def test_several_latents_at_once_are_made_from_one_encoding(model):
    """In any order, wherever each of them is, against what is written by hand; a latent that is edited again at a token
    is edited behind the others. A ReLU dictionary, so that one latent's ablation changes other activations."""
    dictionary = new_dictionary(ReLUConfig(d_in=128, d_sae=64, l1=0.1), torch.Generator().manual_seed(1))
    with torch.no_grad():
        dictionary.b_enc += 1  # active nearly everywhere ...
        dictionary.W_dec += 0.3  # ... and along directions that have much in common
        dictionary.W_enc += 0.3
    latents, chance = Latents.of(dictionary, model, HOOK), torch.Generator().manual_seed(3)
    W_dec = dictionary.W_dec.detach()
    mask = torch.rand(3, 12, generator=chance) < 0.5
    numbers, amounts = torch.tensor([40, 41, 42]), torch.rand(3, 12, generator=chance)
    parts = [
        ablate(latents, 3, EVERYWHERE),
        clamp(latents, 17, 2.0, at(4, 7)),
        scale(latents, numbers, 3.0, since(2).within(mask)),
        ablate(latents, 5, to=amounts),
    ]

    def change(x):
        with torch.no_grad():
            acts, new = dictionary.encode(x), x.clone()
        new -= acts[..., 3, None] * W_dec[3]
        new[:, [4, 7]] += (2 - acts[:, [4, 7], 17, None]) * W_dec[17]
        scaled = 2 * torch.stack([acts[row, :, number] for row, number in enumerate(numbers)])[..., None]
        new += torch.where((mask & (torch.arange(12) >= 2))[..., None], scaled * W_dec[numbers][:, None], 0)
        return new + (amounts - acts[..., 5])[..., None] * W_dec[5]

    with torch.no_grad():
        expected = by_hand(model, change)
        for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
            edits = sum((parts[number] for number in order), start=())
            torch.testing.assert_close(under(model, edits), expected, rtol=1e-4, atol=1e-4)
        again = parts[0] + parts[3] + clamp(latents, 3, 1.0)
        encode = lambda x, n: dictionary.encode(x)[..., n, None]
        first = lambda x: x - encode(x, 3) * W_dec[3] + (amounts[..., None] - encode(x, 5)) * W_dec[5]
        behind = lambda x: first(x) + (1 - encode(first(x), 3)) * W_dec[3]
        torch.testing.assert_close(under(model, again), by_hand(model, behind), rtol=1e-4, atol=1e-4)


def test_many_in_one_batch_are_each_alone(model, latents):
    """Rows in any order, as often as one likes, each with its own latent, strength and position."""
    chance = torch.Generator().manual_seed(5)
    n = 40
    rows, numbers = torch.randint(0, 3, (n,), generator=chance), torch.randint(0, 256, (n,), generator=chance)
    places = torch.randint(-1, 12, (n,), generator=chance)
    by = torch.randn(n, generator=chance)
    edits = steer(latents, numbers, by, at(places)) + ablate(latents, numbers.flip(0), at(places))
    seen = torch.zeros(n, dtype=torch.bool)
    for some in variants(model, model.keep(TOKENS, HOOK), rows, edits):
        for number, last in zip(some.numbers.tolist(), some.last, strict=True):
            place, own = int(places[number]), torch.tensor([number])
            alone = bound([edit.of(own) for edit in edits])
            torch.testing.assert_close(
                last, model.last(TOKENS[rows[own]], alone)[0, some.since :], rtol=1e-4, atol=1e-5
            )
            by_numbers = steer(latents, int(numbers[number]), float(by[number]), at(place))
            by_numbers += ablate(latents, int(numbers.flip(0)[number]), at(place))
            assert some.since <= place
            same = model.last(TOKENS[rows[own]], bound(by_numbers))[0, some.since :]
            torch.testing.assert_close(last, same, rtol=1e-4, atol=1e-5)
            seen[number] = True
    assert seen.equal(places >= 0)


def test_what_does_not_fit_is_refused(model, latents):
    with pytest.raises(UserError, match=r"(?s)Latent 256 was asked for\..*a latent from 0 to 255"):
        ablate(latents, 256)
    with pytest.raises(UserError, match=f"Latent {10**30} was asked for"):
        steer(latents, 10**30, 1.0)
    with pytest.raises(UserError, match="Latent -1 "):
        steer(latents, torch.tensor([0, -1]), 1.0)
    with pytest.raises(UserError, match="An edit of 2 rows was put on 3"):
        under(model, put(HOOK, 0.0, at(torch.tensor([1, 2]))))
    with pytest.raises(UserError, match="A mask of 5 tokens was put on rows of 12"):
        under(model, put(HOOK, 0.0, EVERYWHERE.within(torch.ones(1, 5, dtype=torch.bool))))
    for edits in (
        steer(latents, torch.tensor([3, 4]), 1.0),
        steer(latents, 3, torch.ones(4)),
        put(HOOK, torch.ones(2, 128)),
    ):
        with pytest.raises(UserError, match="was put on 3 rows"):
            under(model, edits)
    with pytest.raises(UserError, match="of width 127 was put on"):
        under(model, add(HOOK, torch.ones(127)))
    with pytest.raises(UserError, match="leaves values too large"):
        under(model, add(HOOK, torch.ones(128), 1e25))
    with pytest.raises(UserError, match="Known activations of the shape"):
        ablate(latents, 3, known=torch.ones(12))
    with pytest.raises(UserError, match="has width 512, and the dictionary reads width 128"):
        Latents.of(latents.dictionary, model, "blocks.0.mlp.hook_post")
    with pytest.raises(UserError, match="Unknown hook"):
        under(model, put("blocks.1.hook_resid_post", 0.0))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: at(-1), "Position -1 was named"),
        (lambda: at(torch.tensor([3, -2, 1])), "Position -2 was named"),
        (lambda: since(-1), "Position -1 was named"),
        (lambda: since(torch.tensor([-1, 2, 2])), "Position -1 was named"),
        (lambda: at(), "No position was named"),
        (lambda: at(torch.tensor([1.0])), "torch.float32 were given"),
        (lambda: at(torch.tensor([1, 2]), torch.tensor([1, 2, 3])), "Positions of 2 and of 3 rows"),
        (lambda: at(12), "Rows of 12 tokens were to be edited at position 12"),
        (lambda: at(3, torch.tensor([-1, 99, 2])), "edited at position 99"),
        (lambda: since(13), "Rows of 12 tokens were to be edited from position 13"),
        (lambda: since(torch.tensor([1, 99, 2])), "edited from position 99"),
    ],
)
def test_positions_that_rows_have_not_are_refused(model, make, said):
    """They did nothing, and said nothing."""
    with pytest.raises(UserError, match=said):
        under(model, put(HOOK, 0.0, make()))
    kept = model.keep(TOKENS, HOOK)
    with pytest.raises(UserError, match=said):
        next(variants(model, kept, torch.arange(3), put(HOOK, 0.0, make())))


def test_positions_of_other_passes(model, latents):
    """Behind what was read before, in front of what is read later, and in rows that are longer than what is given."""
    kept = model.keep(TOKENS, HOOK).of(torch.arange(3), 5)
    with pytest.raises(UserError, match=r"position 3, and what is run of them begins at 5\.\n.*from 5 to 11"):
        model.last(kept, bound(put(HOOK, 0.0, at(3)), 5))
    torch.testing.assert_close(under(model, put(HOOK, 0.0, since(12))), model.run(TOKENS).logits)
    edits = put(HOOK, 0.0, at(14))
    torch.testing.assert_close(model.run(TOKENS, edits=bound(edits, until=15)).logits, model.run(TOKENS).logits)
    assert generate(model, TOKENS, 4, edits=edits).shape == (3, 16)
    with pytest.raises(UserError, match="Rows of 14 tokens were to be edited at position 14"):
        generate(model, TOKENS, 3, edits=edits)
    for short in (
        put(HOOK, torch.ones(3, 5, 128)),
        steer(latents, 3, torch.ones(1, 5)),
        ablate(latents, 3, to=torch.ones(3, 5)),
    ):
        with pytest.raises(UserError, match="of 5 tokens was put on position 11"):
            under(model, short)
        assert under(model, [replace(edit, where=at(4)) for edit in short]).shape[1] == 12


def test_edits_that_are_not_bound_are_told():
    """In a process of its own: in this one the types of arguments are checked before anything is looked at."""
    code = "import torch; from sparselex import load_model; from sparselex.causal.edits import put\n"
    code += "load_model('embedded').run(torch.tensor([[1, 2]]), edits=put('blocks.0.hook_mlp_out', 0.0))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "UserError: A tuple of edits was given" in said and "edits=bound(edits)" in said
