"""Relatives: what lies inside another is found and what only seems to by chance is not, and two texts tell a planted
wide latent from a planted narrow one."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sparselex.atlas.relatives.config import RelativesConfig
from sparselex.atlas.relatives.containment import Bounds, Shares, find_inside, held_inside
from sparselex.atlas.relatives.records import Relatives
from sparselex.atlas.relatives.texts import NOTHING, Difference, Places, contexts, minimal_pair, told_by
from sparselex.atlas.relatives.walk import relatives
from sparselex.atlas.splitting.dictionaries import Dictionary

N_TOKENS, N_GROUPS = 6000, 8
GROUPS = np.arange(N_TOKENS) * N_GROUPS // N_TOKENS
BOUNDS = Bounds(0.8, 1.5, 4.0)


def activity(n_latents=12, share=0.03, seed=0):
    """`[n_latents, N_TOKENS]`, each latent active at random."""
    rng = np.random.default_rng(seed)
    return ((rng.random((n_latents, N_TOKENS)) < share) * rng.uniform(0.5, 3, (n_latents, N_TOKENS))).astype(np.float32)


def planted():
    """Latents of which 2 lies inside 1 and 1 inside 0, all but a few of its tokens, and 3 is nearly always active."""
    found, rng = activity(), np.random.default_rng(5)
    found[0] = (rng.random(N_TOKENS) < 0.1).astype(np.float32)
    for wide, narrow, share in ((0, 1, 0.5), (1, 2, 0.4)):
        inside = np.flatnonzero(found[wide])
        found[narrow] = 0
        found[narrow, rng.choice(inside, int(share * len(inside)), replace=False)] = 2.0
        found[narrow, rng.choice(np.flatnonzero(found[wide] == 0), 5, replace=False)] = 1.0
    found[3] = (rng.random(N_TOKENS) < 0.93).astype(np.float32)
    return csr_array(found)


def test_a_chain_is_found_from_both_sides_and_chance_is_not_reported():
    found = planted()
    pairs = find_inside(found, found, BOUNDS)
    wider = {(i, j) for i, j, up in zip(*pairs, strict=True) if up}
    narrower = {(i, j) for i, j, up in zip(*pairs, strict=True) if not up}
    assert wider == {(1, 0), (2, 1), (2, 0)} and narrower == {(j, i) for i, j in wider}
    dense = (found.toarray() != 0).astype(float)
    inside_dense = [dense[3][dense[latent] != 0].mean() for latent in range(4, 12)]
    assert min(inside_dense) > 0.85, "latent 3 is active on most tokens of all, which is its density and no more"


def test_few_tokens_inside_a_dense_latent_are_no_evidence():
    """Twenty of twenty where the other is active on four of five tokens is luck once in a hundred."""
    some = Shares.of(np.array([20.0, 20.0]), np.array([20.0, 20.0]), np.array([0.8, 0.1]) * 6000, 6000)
    assert some.beyond.tolist() == [1, 1] and some.within(BOUNDS).tolist() == [False, True]
    same = Shares.of(np.array([50.0]), np.array([50.0]), np.array([60.0]), 6000)
    assert not same.within(BOUNDS).any() and same.within(Bounds(0.8, 1.2, 4.0)).all(), "as wide as the other, nearly"


def test_shares_on_other_tokens_are_those_of_a_slow_computation():
    found = planted()
    pairs = find_inside(found, found, BOUNDS)
    held, dense = held_inside(found, found, pairs, GROUPS, N_GROUPS), found.toarray() != 0
    rest = GROUPS != 3
    for place, (i, j, up) in enumerate(zip(*pairs, strict=True)):
        narrow, wide = (dense[i], dense[j]) if up else (dense[j], dense[i])
        assert held.whole.contained[place] == pytest.approx(wide[narrow].mean())
        assert held.whole.chance[place] == pytest.approx(wide.mean())
        assert held.without.contained[3, place] == pytest.approx(wide[rest][narrow[rest]].mean())
        assert held.without.ratio[3, place] == pytest.approx(wide[rest].sum() / narrow[rest].sum())
    assert held.whole.within(BOUNDS).all()


def places(n=400, n_before=5, seed=0):
    """Places of a latent that is active on token 7; the narrower one is where token 3 stands two before it, and token 4
    stands there where it is not. All else is drawn from six tokens."""
    rng = np.random.default_rng(seed)
    context = rng.integers(10, 16, (n, n_before + 1)).astype(np.int32)
    both = rng.random(n) < 0.4
    context[:, -1], context[:, -3] = 7, np.where(both, 3, 4)
    wide = rng.uniform(1, 2, n)
    return Places(context, np.arange(n) // 3, both, wide, np.where(both, rng.uniform(1, 2, n), 0.0))


def test_a_minimal_pair_tells_a_planted_wide_latent_from_a_planted_narrow_one():
    chosen, judged = places(), places(seed=1)
    pair = minimal_pair(chosen, 256)
    assert chosen.both[pair.both] and not chosen.both[pair.only]
    assert pair.difference == Difference(2, 3, 4) and pair.differing <= 3 < pair.at_random
    texts = chosen.context[[pair.both, pair.only]]
    assert np.count_nonzero(texts[0] != texts[1]) == pair.differing
    told = told_by(pair.difference.votes(judged.context), judged.both)
    assert told.share > 0.95 and sum(told) > 0.8 * len(judged.both)
    order = np.random.default_rng(2).permutation(len(chosen.both))
    dealt = minimal_pair(chosen._replace(both=chosen.both[order], narrow=chosen.narrow[order]), 256)
    by_chance = told_by(dealt.difference.votes(judged.context), judged.both)
    assert not by_chance.share > 0.8, "texts of another latent tell nothing of this one"


def test_texts_are_of_different_rows_and_whole():
    same_row = places(60)._replace(row=np.zeros(60, dtype=np.int64))
    assert minimal_pair(same_row, 256) is None
    begun = places(60)
    begun.context[:, 0] = NOTHING
    assert minimal_pair(begun, 256) is None
    assert minimal_pair(places(60)._replace(both=np.ones(60, dtype=bool)), 256) is None


def test_a_difference_votes_by_its_tokens():
    context = np.array([[6, 1, 5], [9, 1, 5], [6, 1, 8], [1, 1, 5], [9, 9, 1]], dtype=np.int32)
    votes = Difference(2, 6, 9).votes(context)
    assert votes.tolist() == [1, -1, 1, 0, -1]
    told = told_by(votes, np.array([True, False, False, False, True]))
    assert tuple(told) == (1, 1, 1, 1) and told.share == pytest.approx(0.5)
    assert np.isnan(told_by(np.array([1, 1]), np.array([True, True])).share), "one kind alone tells nothing"


def test_contexts_stay_inside_rows_and_documents(small_index):
    corpus = small_index.corpus
    tokens, owners = (np.asarray(one).reshape(-1) for one in (corpus.tokens, corpus.documents))
    positions = np.random.default_rng(0).choice(np.flatnonzero(owners >= 0), 200, replace=False)
    found = contexts(corpus, positions, 6)
    for position, context in zip(positions.tolist(), found.tolist(), strict=True):
        start = position - position % corpus.n_ctx
        expected = [
            int(tokens[at]) if at >= start and owners[at] == owners[position] else NOTHING
            for at in range(position - 6, position + 1)
        ]
        assert context == expected


CONFIG = RelativesConfig(least_active=5, least_told=2, n_before=4)


@pytest.fixture(scope="module")
def found(small_index, tmp_path_factory) -> Relatives:
    """The small index beside itself under another name."""
    to = tmp_path_factory.mktemp("relatives") / "relatives"
    both = [Dictionary(name, small_index) for name in ("main", "again")]
    return relatives(both, CONFIG, to, inputs={"of": "it"})


def test_relatives_hold_on_test_documents(found, small_index):
    assert len(found) > 10 and [one.run for one in found.found.dictionaries] == ["main", "again"]
    own, again = found.found.among
    assert again.n_pairs == 2 * own.n_pairs, "beside itself each pair is found from either side"
    for row in range(0, len(found), 7):
        kin = found.at(row)
        assert kin.ratio >= CONFIG.least_ratio and (kin.contained - kin.chance) / (1 - kin.chance) >= 0.8 - 1e-6
        assert row in found.wider(kin.narrow_of, kin.narrow) and row in found.narrower(kin.wide_of, kin.wide)
        narrow, wide = (small_index.column(latent)[0] for latent in (kin.narrow, kin.wide))
        if kin.has_texts:
            assert kin.both in narrow and kin.both in wide and kin.only in wide and kin.only not in narrow
            rows = small_index.corpus.row_ranges["test"]
            assert all(at // small_index.corpus.n_ctx in rows for at in (kin.both, kin.only)) and kin.differing > 0
    links = found.columns["link"][found.wider(0, int(found.columns["narrow"][0]))]
    assert (np.diff(links) <= 1e-6).all()


def test_every_figure_is_beside_its_null(found):
    for among in found.found.among:
        for name in ("narrower", "wider"):
            figure = among.figure(name)
            assert figure.null is not None and figure.null <= figure.value, figure.name
        differing = among.figure("differing")
        assert 1 <= differing.value <= CONFIG.n_before + 1 and 1 <= differing.null <= CONFIG.n_before + 1
        covered = among.figure("covered")
        assert 0 < covered.value < 1 and 0 < covered.n <= among.n_texts


def test_the_same_seed_gives_the_same_relatives(found, small_index, tmp_path):
    again = relatives([Dictionary("main", small_index)], CONFIG, tmp_path / "relatives", inputs={"of": "it"})
    own = found.columns["wide_of"] + found.columns["narrow_of"] == 0
    for name, values in again.columns.items():
        np.testing.assert_array_equal(values, found.columns[name][own], err_msg=name)
