"""Planted features are found, judged as a dense computation does, and beside chance; siblings fill planted gaps."""

import numpy as np
import pytest

from sparselex.atlas.proxies.config import HowMeasured, ProxiesConfig
from sparselex.atlas.proxies.make import write_concept, write_proxies
from sparselex.atlas.proxies.measures import intervals_of
from sparselex.atlas.proxies.moments import Marked, together
from sparselex.atlas.proxies.records import FILE, FOUND_FILE, ConceptFound, ProxiesFound
from sparselex.atlas.proxies.siblings import cover
from sparselex.atlas.proxies.spans import RegexProxy, WordsProxy
from sparselex.atlas.proxies.walk import Beside, found_of, judged, scored, texts_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from tests.support.spelled import SpelledCorpus, SpelledIndex

CONFIG = HowMeasured(n_siblings=4, n_random=10, n_intervals=4, least_active=5)
ALONE = Beside(None, "left out", {})
BEST, SIBLING, HALF, WIDE = range(4)


def planted(seed: int = 0, *, poison: bool = False) -> SpelledIndex:
    """Latents over documents of random words: one carries three quarters of ` url`, one the rest, one a few of both,
    one is active on half of all tokens, and thirty are noise. Poisoned, the best is silent in test documents."""
    rng = np.random.default_rng(seed)
    words = [b" url", b" one", b" two", b" three", b" four", b" five"]
    documents = lambda n: [[words[i] for i in rng.choice(6, 50, p=[0.1, *[0.18] * 5])] for _ in range(n)]
    corpus = SpelledCorpus({"train": documents(60), "validation": documents(2), "test": documents(50)}, n_ctx=26)
    text = (corpus.documents >= 0).reshape(-1)
    is_url = (corpus.tokens.reshape(-1) == corpus.ids[b" url"]) & text
    which, sizes = rng.random(len(text)), rng.uniform(0.5, 4, len(text))
    acts = np.zeros((len(text), 34))
    acts[:, BEST] = np.where(is_url & (which < 0.75), sizes, 0) + np.where(text & ~is_url & (which > 0.98), 0.3, 0)
    acts[:, SIBLING] = np.where(is_url & (which >= 0.75), sizes, 0)
    acts[:, HALF] = np.where(is_url & (which < 0.2), 1.0, 0)
    acts[:, WIDE] = np.where(text & (rng.random(len(text)) < 0.5), sizes, 0)
    acts[:, 4:] = np.where(text[:, None] & (rng.random((len(text), 30)) < 0.06), 1.0, 0)
    if poison:
        rows = corpus.row_ranges["test"]
        acts[rows.start * corpus.n_ctx :, BEST] = 0
    return SpelledIndex(corpus, acts)


def looked(index, proxy=None, config=CONFIG):
    one = scored(index, texts_of(index), "url", proxy or WordsProxy(of=("url",)))
    (found,), every = found_of(index, [one], config, ALONE)
    return found, every, one


@pytest.fixture(scope="module")
def index():
    return planted()


@pytest.fixture(scope="module")
def looked_at(index):
    return looked(index)


def test_all_pairs_are_what_a_dense_computation_gives(index):
    texts = texts_of(index)
    concepts = [scored(index, texts, "", WordsProxy(of=words)).train for words in (("url",), ("one", "two"))]
    concepts.append(Marked(concepts[0].ranks, np.linspace(1, 3, len(concepts[0].ranks)), concepts[0].n_tokens))
    found, acts = together(index, index.counted_tokens("train"), concepts), index.in_split("train")
    for place, one in enumerate(concepts):
        scores = np.zeros(len(acts))
        scores[one.ranks] = one.scores
        dense = [np.corrcoef(column, scores)[0, 1] for column in acts.T]
        np.testing.assert_allclose(found.correlation[:, place], dense, atol=1e-6)
        np.testing.assert_allclose(found.mass_inside[:, place], acts[scores > 0].sum(0), rtol=1e-6)
        assert np.array_equal(found.n_inside[:, place], (acts[scores > 0] != 0).sum(0))
    assert np.array_equal(found.n_active, (acts != 0).sum(0))
    np.testing.assert_allclose(found.largest, acts.max(0), rtol=1e-6)


def test_the_planted_feature_is_found_and_judged_as_by_hand(index, looked_at):
    found, _, one = looked_at
    best = found.carriers[0]
    assert best.latent == BEST and [each.latent for each in found.carriers[1:3]] == [SIBLING, HALF]
    acts, inside = index.in_split("test")[:, BEST], np.zeros(len(index.counted_tokens("test")), dtype=bool)
    inside[one.test.ranks] = True
    assert inside.sum() == found.n_test == (index.counted_tokens("test").tokens == index.corpus.ids[b" url"]).sum()
    high = acts > index.in_split("train")[:, BEST].max() / 2
    by_hand = {
        "specificity": inside[acts > 0].mean(),
        "specificity_weighted": acts[inside].sum() / acts.sum(),
        "specificity_high": inside[high].mean(),
        "sensitivity": np.corrcoef(acts, inside)[0, 1],
        "recall": (acts[inside] > 0).mean(),
    }
    for name, value in by_hand.items():
        assert getattr(best, name) == pytest.approx(value, rel=1e-5), name
        assert found.figure(name).value == pytest.approx(value, rel=1e-5)
    assert best.n_high == high.sum() and best.specificity_high == 1.0 and 0.7 < best.recall < 0.8
    specificity = found.figure("specificity")
    assert specificity.ci_low < specificity.value < specificity.ci_high and specificity.units == "documents"


def test_by_chance_it_is_what_the_share_of_its_tokens_says(looked_at):
    found = looked_at[0]
    assert len(found.by_chance) == CONFIG.n_shifts
    for one in found.by_chance:
        assert abs(one.sensitivity) < 0.1 and one.specificity < 3 * found.share
    assert found.figure("specificity").null == pytest.approx(np.mean([one.specificity for one in found.by_chance]))


def test_siblings_fill_the_planted_gap_and_random_ones_do_not(looked_at):
    found = looked_at[0]
    assert [one.latent for one in found.siblings] == [SIBLING]  # behind it nothing is left to be covered
    only = found.siblings[0]
    assert only.added == pytest.approx(1 - found.carriers[0].recall) and only.recall == 1.0 and only.specificity == 1.0
    assert only.random_added < only.added / 3


def test_a_greedy_cover_takes_what_adds_most():
    active = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [0] * 6], dtype=float)
    from scipy.sparse import csr_array

    taken = cover(csr_array(active), np.array([7, 8, 9, 3]), np.array([True, False, False, False, False, False]), 9)
    # 8 adds three, as 9 would, which comes later; then either of the others adds one, and the last token is nobody's.
    assert [(one.latent, round(one.added * 6)) for one in taken] == [(8, 3), (7, 1)]


def test_what_judges_does_not_choose(index):
    poisoned, every, _ = looked(planted(poison=True))
    assert poisoned.carriers[0].latent == BEST and poisoned.carriers[0].specificity is None
    assert poisoned.figure("specificity_high").failure and poisoned.figure("recall").value == 0
    assert every.correlation[BEST, 0] == pytest.approx(looked(index)[1].correlation[BEST, 0])


def test_intervals_hold_every_active_test_token(index, looked_at):
    found, every, one = looked_at
    acts = index.in_split("test")[:, BEST]
    edges = [interval.low for interval in found.intervals] + [np.inf]
    by_hand = np.histogram(acts[acts > 0], edges)[0]
    assert [sum(interval.counts) for interval in found.intervals] == by_hand.tolist()
    assert sum(sum(interval.masses) for interval in found.intervals) == pytest.approx(acts.sum(), rel=1e-5)
    inside = sum(interval.counts[1] for interval in found.intervals)
    assert inside == round(found.carriers[0].recall * found.n_test)
    several = intervals_of(judged(index, BEST, every), one.scores * 7, (0.0, 5.0, 15.0), 3)
    assert [sum(row.counts[k] for row in several) for k in (1, 2, 3)] == [0, inside, 0]


def test_places_are_of_test_documents_and_what_they_are_said_to_be(index, looked_at):
    found = looked_at[0]
    rows = index.corpus.row_ranges["test"]
    url = index.corpus.ids[b" url"]
    for places, is_url in ((found.strongest, None), (found.outside, False), (found.missed, True)):
        assert places
        for one in places:
            assert one.position // index.corpus.n_ctx in rows
            assert one.value == pytest.approx(index.acts[one.position, BEST], rel=1e-6)
            assert (one.score > 0) == (index.corpus.tokens.reshape(-1)[one.position] == url)
            assert is_url is None or (one.score > 0) == is_url
    assert all(one.value == 0 for one in found.missed)
    values = [one.value for one in found.strongest]
    assert values == sorted(values, reverse=True) and len({one.position // 26 for one in found.strongest}) == len(
        values
    )


def test_twins_are_chosen_and_judged_alike(index):
    blank = planted(seed=1)
    blank.corpus = index.corpus
    blank.acts = np.roll(index.acts, 26 * 7, axis=0) * (index.corpus.documents >= 0).reshape(-1)[:, None]
    twin = SpelledIndex(index.corpus, blank.acts)
    one = scored(index, texts_of(index), "url", WordsProxy(of=("url",)))
    (found,), _ = found_of(index, [one], CONFIG, Beside(None, "", {"twin": twin, "same": index}))
    assert found.twins["same"] == found.carriers[0]
    assert found.twins["twin"].sensitivity < 0.3
    assert found.figure("sensitivity").controls.keys() == {"twin", "same"}


def test_the_artifact_of_one_and_that_of_several(index, tmp_path):
    inputs = {"index": "planted"}
    write_concept(index, "url", WordsProxy(of=("url",)), CONFIG, tmp_path / "one", inputs, ALONE)
    one = ConceptFound.from_file(tmp_path / "one" / FOUND_FILE)
    assert one == looked(index)[0] and Figures.read(tmp_path / "one").figures == one.figures
    config = ProxiesConfig(**CONFIG.to_json(), proxies=("urls", "numbers", "capitals"), n_sampled=3, least_test=5)
    with pytest.raises(UserError, match="None of the concepts occurs"):
        write_proxies(index, "main", config, tmp_path / "none", inputs, ALONE)
    assert not (tmp_path / "none").exists()


def test_several_concepts_are_ordered_and_features_drawn(index, tmp_path, monkeypatch):
    table = {"two": RegexProxy(pattern="two"), "url": WordsProxy(of=("url",)), "never": RegexProxy(pattern="never")}
    monkeypatch.setattr("sparselex.atlas.proxies.make.PROXIES", table)
    config = ProxiesConfig(**CONFIG.to_json(), n_sampled=3)
    write_proxies(index, "main", config, tmp_path / "all", {"index": "planted"}, ALONE)
    found = ProxiesFound.from_file(tmp_path / "all" / FILE)
    assert [one.name for one in found.concepts] == ["url", "two"] and found.left_out.keys() == {"never"}
    assert found.concepts[0] == looked(index)[0] or found.concepts[0].carriers == looked(index)[0].carriers
    share = next(one for one in found.figures if one.name == "proxies/specific_share")
    assert share.value == 0.5 and share.null == 0.0 and share.n == 2
    assert len({one.carrier.latent for one in found.sampled}) == 3
    names = [one.name for one in Figures.read(tmp_path / "all").figures]
    assert "proxies/url/sensitivity" in names and "proxies/two/specificity_high" in names


def test_a_concept_that_does_not_occur_is_told_with_what_was_searched(index, tmp_path):
    with pytest.raises(UserError, match=r"0 of 3,000 training tokens and 0 of 2,500 test tokens"):
        write_concept(index, "x", WordsProxy(of=("URL",)), CONFIG, tmp_path / "x", {"index": "planted"}, ALONE)
    assert not (tmp_path / "x").exists()


def test_a_rule_is_named_as_it_was_typed():
    assert RegexProxy(pattern=r"\bself\b").words == r"tokens that a match of “\bself\b” overlaps"
    grouped = r"return (?P<inside>\w+)"
    assert RegexProxy(pattern=grouped).words == f"tokens that the group “inside” of a match of “{grouped}” overlaps"
    assert RegexProxy(pattern="x", said="tokens of x").words == "tokens of x"
