"""Effects of ablations: against a slow version, at chance for directions of no meaning, right for planted ones."""

import numpy as np
import pyarrow.parquet
import pytest
import torch
from scipy.stats import spearmanr, wilcoxon

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.sites import Hook, Sites
from sparselex.causal.latents import Latents
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.effects import effects
from sparselex.evaluate.effects.figures import causal_figures
from sparselex.evaluate.effects.measured import AtPlaces, measured
from sparselex.evaluate.effects.nulls import Directions
from sparselex.evaluate.effects.places import RANDOM, SILENT, Places
from sparselex.evaluate.effects.records import COLUMNS, EffectsIndex
from sparselex.evaluate.effects.tables import Grid, Measured, _dose, chance_of_used, larger, table, used
from sparselex.evaluate.moments import training_sample
from sparselex.lm.load import load_model
from sparselex.lm.pair import ModelPair
from sparselex.recipes.run import Run
from tests.support.command import done
from tests.support.contents import contents
from tests.support.small import small_run

HOOK = Hook("blocks.0.mlp.hook_post")
FEW = EffectsConfig(latents=12, n_rows=24, control_latents=6, batch_rows=8)


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def found(small_workspace, small_index, model, tmp_path_factory) -> EffectsIndex:
    """The effects of some latents of the small run."""
    dictionary = load_dictionary(small_workspace.run("main") / "dictionary")
    to = tmp_path_factory.mktemp("effects") / "effects"
    return effects(model, dictionary, small_index, small_index.sites, FEW, to, inputs={"index": small_index.id})


def by_hand(model, corpus, position, vector):
    """KL divergences at a position of the corpus and behind it, and the rise of the loss, in float64, from two whole
    passes; only inside the document."""
    row, column = divmod(position, corpus.n_ctx)
    tokens = torch.from_numpy(corpus.tokens[row].astype(np.int64))

    def edit(x):
        x = x.clone()
        x[0, column] += vector
        return x

    p, q = (model.run(tokens[None], edits=e).logits[0].double().log_softmax(-1) for e in ({}, {HOOK: edit}))
    kl = (p.exp() * (p - q)).sum(-1)
    same = np.asarray(corpus.documents[row]) == corpus.documents[row][column]
    text_next = column + 1 < corpus.n_ctx and same[column + 1]
    loss = float(p[column, tokens[column + 1]] - q[column, tokens[column + 1]]) if text_next else None
    return float(kl[column]), loss


def test_every_effect_is_what_two_passes_differ_by(small_workspace, small_index, model, found):
    W_dec = load_dictionary(small_workspace.run("main") / "dictionary").W_dec.detach()
    n = 0
    for latent in found.table["latent"].tolist():
        positions, values = small_index.column(latent)
        acts = dict(zip(positions.tolist(), values.tolist(), strict=True))
        one = found.of(latent)
        for kind, places in one.places.items():
            for place in places[:2]:
                if kind == "silent":
                    assert place.position not in acts
                else:
                    assert acts[place.position] == pytest.approx(place.value)
                vector = (1 if kind == "silent" else -1) * place.value * W_dec[latent]
                kl, loss = by_hand(model, small_index.corpus, place.position, vector)
                assert place.kl == pytest.approx(kl, rel=2e-4, abs=2e-6) and place.kl_later == 0
                assert (place.loss is None) == (loss is None)
                assert loss is None or place.loss == pytest.approx(loss, rel=2e-4, abs=2e-5)
                assert (place.null is None) == (kind in ("interval", "silent"))
                changes = [abs(one.after - one.before) for one in place.changed]
                assert changes == sorted(changes, reverse=True)
                n += 1
        largest = max(abs(value) for value in small_index.split_column(latent, "test")[1])
        assert max(abs(place.value) for place in one.places["top"]) <= largest
        assert len({place.position // 64 for place in one.places["random"]}) == len(one.places["random"])
    assert n > 50


def test_the_table_says_what_the_places_say(found):
    for row, latent in enumerate(found.table["latent"].tolist()):
        one = found.of(latent)
        effect = [place.kl + place.kl_later for place in one.places["random"]]
        assert one.summary["effect"] == pytest.approx(np.mean(effect)) and one.summary["n"] == len(effect)
        nulls = [place.null for place in one.places["random"]]
        assert one.summary["null"] == pytest.approx(np.mean(nulls), rel=1e-4)
        assert bool(one.summary["used"]) == (one.summary["effect"] > one.summary["null_95"])
        assert found.table["silent"][row] == pytest.approx(np.mean([place.kl for place in one.places["silent"]]))
    assert set(found.table) == set(COLUMNS) and found.of(10**6) is None
    dense = found.by_latent("effect", 10**4)
    assert np.flatnonzero(np.isfinite(dense)).tolist() == found.table["latent"].tolist()
    written = pyarrow.parquet.read_table(found.path / "effects.parquet")
    assert written.schema.metadata[b"dose"].decode() == COLUMNS["dose"]
    rows = written.to_pylist()
    assert [row["latent"] for row in rows] == found.table["latent"].tolist()


def planted(model, index, rows_of_decoder):
    """A dictionary with these decoder rows, each active at eight places drawn at random and silent at eight others."""
    n = len(rows_of_decoder)
    dictionary = new_dictionary(TopKConfig(d_in=512, d_sae=n, k=1), torch.Generator().manual_seed(0))
    dictionary.W_dec.data = rows_of_decoder
    rng, counted = np.random.default_rng(0), index.counted_tokens("test").positions
    places = Places(
        np.repeat(np.arange(n), 16),
        np.tile(np.repeat([RANDOM, SILENT], 8), n),
        rng.choice(counted, 16 * n),
        np.full(16 * n, 2.0, dtype=np.float32),
    )
    return Latents.of(dictionary, model, HOOK), places


@pytest.fixture(scope="module")
def of_planted(small_index, model):
    """A direction that nothing reads, one that the unembedding reads, and sixty that are what the null is made of."""
    reader = Reader(model, small_index.corpus, Sites.at(HOOK), batch_rows=16)
    sample = training_sample(reader, 200)
    config = EffectsConfig()
    directions = Directions.drawn(sample, {HOOK: slice(0, 512)}, config.seed)
    W_out = model.hf.gpt_neox.layers[0].mlp.dense_4h_to_h.weight.detach().double()
    unread = torch.linalg.svd(W_out)[2][-1]  # 128 x 512: a vector of its null space
    assert float((W_out @ unread).norm()) < 1e-6
    head = model.hf.get_output_embeddings().weight.detach().double()
    read = torch.linalg.svd((head - head.mean(0)) @ W_out, full_matrices=False)[2][0]
    others = Directions.drawn(sample, {HOOK: slice(0, 512)}, 77).at[HOOK][:60]
    rows = torch.cat([torch.stack([unread, read]).float(), others])
    latents, places = planted(model, small_index, rows)
    order = np.arange(len(places.latent))
    found = measured(reader, model, latents, places.of(order), directions, config)
    return Measured.of(places, found, small_index.corpus), config


def test_a_planted_direction_is_found_and_one_that_nothing_reads_is_not(of_planted):
    rows = table(of_planted[0])
    assert rows["effect"][0] == 0 and not rows["used"][0] and not rows["specific"][0]
    assert rows["used"][1] and rows["effect"][1] > 2 * rows["null_95"][1]


def test_the_nulls_are_at_chance_for_directions_that_are_one(of_planted):
    """Sixty directions at a level of 5 %: more than eight have a chance of less than 1 %."""
    rows = table(of_planted[0])
    assert rows["used"][2:].sum() <= 8
    assert 0.5 < np.median(rows["effect"][2:] / rows["null"][2:]) < 2
    assert rows["specific"][2:].sum() <= 8


def test_figures_have_what_makes_them_believable(of_planted):
    found, config = of_planted
    figures = {figure.name: figure for figure in causal_figures(found, config, "the planted")}
    assert list(figures)[:3] == ["causal/used_share", "causal/specific_share", "causal/effect"]
    assert figures["causal/used_share"].value == pytest.approx(table(found)["used"].mean())
    assert figures["causal/used_share"].null == 0.05 and figures["causal/later_share"].value == 0
    unmeasured = {name for name, figure in figures.items() if figure.failure}
    assert unmeasured == {"causal/effect_top", "causal/dose"}  # nothing was planted there
    measured = [figure for name, figure in figures.items() if name not in unmeasured]
    assert [figure.name for figure in measured if figure.null is None] == ["causal/loss", "causal/later_share"]
    for figure in measured:
        assert figure.n and "no interval" in figure.definition  # the documents of this text count as six of one size


def test_nothing_measured_is_a_failure_and_no_number(small_index):
    none = Places(*(np.empty(0, dtype) for dtype in (np.int64, np.int64, np.int64, np.float32)))
    config = EffectsConfig()
    found = Measured.of(none, AtPlaces.none(0, config, 4096), small_index.corpus)
    for figure in causal_figures(found, config, "nothing"):
        assert figure.value is None and "no latent was active" in figure.failure


def test_statistics_of_rows_are_those_of_scipy():
    rng = np.random.default_rng(0)
    ones, others = rng.normal(0.8, 1, (50, 8)), rng.normal(0, 1, (50, 9))  # the ninth is paired with nothing
    ones[0, 2:], ones[1, 4:], others[2, 3:5] = np.nan, np.nan, np.nan
    found, pairs = larger(ones, others), ones - others[:, :8]
    for row, is_larger in enumerate(found.told):
        known = pairs[row][np.isfinite(pairs[row])]
        assert found.n[row] == len(known)
        p = wilcoxon(known, alternative="greater", method="exact").pvalue
        assert is_larger == (p <= 0.05)
    assert found.told[3:].any() and not found.told.all() and not found.told[:2].any()
    effect, directions = rng.random(30), rng.random((19, 30))
    assert used(effect, directions).tolist() == (effect > directions.max(0)).tolist()
    assert not used(np.full(3, np.nan), np.full((19, 3), np.nan)).any()  # no place, nothing that is exceeded


def test_pairs_of_one_distribution_are_told_apart_as_often_as_the_null_says():
    """Effects grow with strength, so an unpaired test of two samples of the same strengths hardly ever rejects."""
    rng = np.random.default_rng(1)
    strength = 10 ** rng.uniform(-2, 1, (40_000, 8))
    ones, others = strength * rng.exponential(1, strength.shape), strength * rng.exponential(1, strength.shape)
    ones[:10_000, 6:] = np.nan
    found = larger(ones, others)
    assert found.chance.mean() == pytest.approx(0.25 * 3 / 64 + 0.75 * 10 / 256)  # by counting subsets of ranks
    for part in (slice(0, 10_000), slice(10_000, None)):
        se = np.sqrt(0.04 / len(found.told[part]))
        assert found.told[part].mean() == pytest.approx(found.chance[part].mean(), abs=4 * se)


def test_no_pairs_and_equal_ones_are_told_apart_by_nothing():
    assert not larger(np.ones((3, 8)), np.ones((3, 8))).told.any()  # what has no effect anywhere
    few = larger(np.full((2, 4), 2.0), np.ones((2, 4)))
    assert not few.told.any() and few.chance.tolist() == [0, 0] and few.n.tolist() == [4, 4]
    none = larger(np.ones((2, 8)), np.empty((2, 0)))
    assert not none.told.any() and none.n.tolist() == [0, 0]
    tied = np.array([[1.0, 1, 1, 1, 1, 1, 1, -1]])  # the one below 0 counts as the largest of them
    assert not larger(tied, np.zeros((1, 8))).told.any() and larger(np.abs(tied), np.zeros((1, 8))).told.all()


def test_the_null_of_a_share_is_what_so_many_directions_can_say():
    rng = np.random.default_rng(2)
    for n in (19, 25, 40):
        told = used(rng.random(40_000), rng.random((n, 40_000)))
        assert told.mean() == pytest.approx(chance_of_used(n), abs=0.005)
    assert chance_of_used(19) == 0.05 and chance_of_used(25) == pytest.approx(1 / 26)


def test_a_silent_place_is_as_strong_as_the_one_it_is_paired_with(found):
    arrays = {name: np.load(found.path / f"{name}.npy") for name in ("latent", "kind", "value")}
    for latent in found.table["latent"].tolist():
        active, silent = (
            arrays["value"][(arrays["latent"] == latent) & (arrays["kind"] == k)] for k in (RANDOM, SILENT)
        )
        n = min(len(active), len(silent))
        assert active[:n].tolist() == silent[:n].tolist()


def test_a_latent_of_one_document_is_not_counted_without_it():
    """Shares without a group of documents are over the latents that are still measured then."""
    places = Places(
        np.arange(60) // 3, np.full(60, RANDOM), np.arange(60) * 64, np.ones(60, dtype=np.float32)
    )  # twenty latents, each in three rows
    config = EffectsConfig()
    none, effect = AtPlaces.none(60, config, 100), np.ones(60, dtype=np.float32)
    effects = none._replace(kl=effect, directions=np.full((60, 19), 2.0, np.float32))  # none is used
    groups = np.arange(60) // 3  # and each in documents of its own
    found = Measured(np.arange(20), places, effects, groups, 60.0)
    share = causal_figures(found, config, "twenty")[0]
    assert share.value == 0 and share.n == 20
    assert share.se == 0  # no document moves it: the share is 0 without any of them


def test_the_dose_is_a_rank_correlation(found):
    for latent in found.table["latent"].tolist():
        one = found.of(latent)
        places = one.places["interval"]
        if len(places) < 3:
            assert one.summary["dose"] is None
            continue
        sizes, sums = [abs(p.value) for p in places], [p.kl + p.kl_later for p in places]
        assert one.summary["dose"] == pytest.approx(spearmanr(sizes, sums).statistic, abs=1e-6)


def test_places_of_one_effect_are_of_one_rank():
    """Divergences below rounding are 0: a latent without any effect had a dose of 1, as places come by activation."""
    strengths = np.array(
        [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 1, 2, np.nan, 3], [1, 2, np.nan, 3, 4.0]]
    )
    sums = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [3, 1, 2, np.nan, 2], [5, 6, np.nan, 7, 9.0]])
    groups = np.zeros(sums.shape, dtype=int)
    found = _dose(Grid(strengths, groups), Grid(sums, groups))
    assert np.isnan(found[0])
    for row in range(1, len(sums)):
        known = np.isfinite(sums[row])
        assert found[row] == pytest.approx(spearmanr(strengths[row][known], sums[row][known]).statistic, abs=1e-12)


def test_directions_have_the_covariance_of_the_sample():
    rng = torch.Generator().manual_seed(3)
    mixing = torch.randn(6, 6, generator=rng)
    sample = torch.randn(5000, 6, generator=rng) @ mixing + 7
    drawn = Directions.drawn(sample, {Hook("blocks.0.hook_resid_pre"): slice(0, 6)}, 0)
    at = next(iter(drawn.at.values()))
    torch.testing.assert_close(at.norm(dim=-1), torch.ones(len(at)))
    normal = torch.randn(100_000, 6, generator=rng) @ torch.linalg.cholesky(torch.cov(sample.T)).T
    expected = torch.nn.functional.normalize(normal, dim=-1)
    torch.testing.assert_close(at.T @ at / len(at), expected.T @ expected / len(expected), atol=0.03, rtol=0)
    first, again = drawn.of(3, 19, 0), drawn.of(3, 19, 0)
    assert first.tolist() == again.tolist() and len(set(first.tolist())) == 19
    assert first.tolist() != drawn.of(4, 19, 0).tolist()


def test_stopped_within_it_goes_on_to_the_same_bytes(small_workspace, small_index, model, found, tmp_path, monkeypatch):
    from sparselex.evaluate.effects import effects as module

    class Stopped(Exception):
        pass

    calls = []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return measured(*arguments)

    dictionary = load_dictionary(small_workspace.run("main") / "dictionary")
    inputs = {"index": small_index.id}
    monkeypatch.setattr(module, "measured", stop)
    with pytest.raises(Stopped):
        effects(model, dictionary, small_index, small_index.sites, FEW, tmp_path / "effects", inputs=inputs)
    effects(model, dictionary, small_index, small_index.sites, FEW, tmp_path / "effects", inputs=inputs)
    assert len(calls) > 3  # three parts were begun, two of them kept
    ours, theirs = contents(tmp_path / "effects"), contents(found.path)
    assert {name: ours[name] for name in theirs if name != ".verified.json"} == {
        name: theirs[name] for name in theirs if name != ".verified.json"
    }


def test_taken_up_with_fewer_rows_at_a_time(small_workspace, small_index, model, found, tmp_path, monkeypatch):
    """Less memory is free than at the first start: what that has left is of other rows."""
    from sparselex.evaluate.effects import effects as module

    made = []

    def once(*arguments):
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(module, "measured", once)
    dictionary = load_dictionary(small_workspace.run("main") / "dictionary")
    config, sizes = FEW.model_copy(update={"batch_rows": None}), iter([8, 5])
    monkeypatch.setattr("sparselex.activations.live.rows_at_once", lambda *_, **__: next(sizes))
    given = (model, dictionary, small_index, small_index.sites, config, tmp_path / "effects")
    with pytest.raises(KeyboardInterrupt):
        effects(*given, inputs={})
    again = effects(*given, inputs={})
    for name, column in found.table.items():
        np.testing.assert_allclose(again.table[name].astype(float), column.astype(float), rtol=1e-3, atol=1e-6)


def test_two_models_are_refused(small_workspace, small_index, model, tmp_path):
    dictionary = load_dictionary(small_workspace.run("main") / "dictionary")
    with pytest.raises(UserError, match="two models"):
        effects(
            ModelPair(model, model), dictionary, small_index, small_index.sites, FEW, tmp_path / "effects", inputs={}
        )


@pytest.mark.slow
def test_the_verb_measures_and_the_report_takes_it_up(tmp_path):
    run = small_run(tmp_path)
    for verb in ("train", "index", "explain", "evaluate"):
        run.do(verb)
    said = done("effects", run.workspace.path, "--latents", "12", "--n-rows", "24", "--control-latents", "6")
    assert "(chance gives 5.0%)" in said.out and str(run.folder / "effects") in said.out
    report = done("report", run.workspace.path, "--json").json
    names = [figure["name"] for figure in report["figures"]]
    assert "causal/used_share" in names
    used_share = next(figure for figure in report["figures"] if figure["name"] == "causal/used_share")
    assert set(used_share["controls"]) == {"neurons"}
    assert not any("intervention" in line for answer in report["answers"] for line in answer["evidence"])
    found = Run.open(run.workspace).do("effects")
    assert isinstance(found, EffectsIndex) and len(found.table["latent"]) == 12
    assert Figures.read(run.folder / "effects").figures[0].name == "causal/used_share"
    again = done("effects", run.workspace.path)
    assert "already" in again.out + again.err or again.out == said.out
