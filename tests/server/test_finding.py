"""Latents are found by what stands in their texts, by tokens, passages and meaning; nobody stops anybody else."""

import re
import shutil
import time

import numpy as np
import pyarrow.csv
import pytest
import re2
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.features.pieces import AFTER, BEFORE
from sparselex.features.searched import SearchedText, Slow
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.server.explained import _without_quotes
from sparselex.server.finding.examples import ExampleText
from tests.support.small_encoder import write_encoder

LIST = "/runs/main/features"


@pytest.fixture(scope="module")
def searched(small_index) -> SearchedText:
    return ExampleText(small_index).text


@pytest.fixture(scope="module")
def get(client):
    def got(**options):
        return client.get(f"{LIST}.json", params=options)

    return got


def all_rows(get, **options) -> list[dict]:
    return [row for page in pages_of(get, **options) for row in page["rows"]]


def pages_of(get, **options) -> list[dict]:
    """Every page of the list, as a reader goes through them."""
    pages = [get(**options).json()]
    while pages[-1]["next"]:
        pages.append(get(**options, after=pages[-1]["next"]).json())
    return pages


def texts(corpus, rows) -> list[tuple[bytes, list[int]]]:
    """By hand: the text of each row, and the slot that each of its bytes is of."""
    found = []
    for number, row in enumerate(rows.tolist()):
        text, slots = b"", []
        for column in range(corpus.n_ctx):
            there = corpus.documents[row, column] >= 0
            token = corpus.vocabulary.token_bytes(int(corpus.tokens[row, column])) if there else b"\0"
            text, slots = text + token, slots + [number * (corpus.n_ctx + 1) + column] * len(token)
        found.append((text, slots))
    return found


@pytest.mark.parametrize("words", ["return", '"', "+ 3\n", "alert", "é", "🤷", "self, value", "nowhere at all"])
def test_words_are_found_where_they_stand(searched, words):
    expected, needle = set(), words.encode()
    for text, slots in texts(searched.corpus, searched.rows):
        lower, start = text.lower(), -1
        while (start := lower.find(needle, start + 1)) >= 0:
            expected |= set(slots[start : start + len(needle)])
    assert searched.words(words.upper()).tolist() == sorted(expected)
    assert bool(expected) == (words != "nowhere at all")
    assert searched.pattern("(?i)" + re2.escape(words)).tolist() == sorted(expected)


def test_what_stands_nearer_counts_more(searched):
    slots = np.arange(len(searched.documents))
    hit = searched.words("return")
    near, found = searched.nearness(hit, slots), searched.nearest(hit, slots)
    for slot in range(3, len(slots), 97):
        around = [
            at for at in hit.tolist() if -BEFORE <= at - slot <= AFTER and searched.together(np.array([at]), slot)
        ]
        nearest = min(around, key=lambda at: (abs(at - slot), at), default=-1)
        assert found[slot] == nearest
        assert near[slot] == (pytest.approx(4 / (4 + abs(nearest - slot))) if nearest >= 0 else 0)
    assert near[hit].min() == 1 and searched.nearness(hit[:0], slots).max() == 0


@pytest.mark.parametrize("pattern", ["[", "(", "(?P<a", "\\", "(?<=a)b", "((a{1000}){1000}){1000}", "*"])
def test_what_is_no_pattern_is_refused_in_words(get, pattern):
    found = get(q=pattern, mode="regex")
    assert found.status_code == 400 and "cannot be read" in found.json()["message"]
    assert "(?m)" not in found.json()["message"]


@pytest.mark.parametrize("pattern", ["^$", "$", "^", "\\z", "^\\s*$", ".*", "(?:)", "x{0}", "\\b"])
def test_patterns_that_match_nothing_between_two_signs_are_answered(get, pattern):
    found = get(q=pattern, mode="regex")
    assert found.status_code == 200 and bool(found.json()["rows"]) == (pattern in ("^\\s*$", ".*"))


def test_a_slow_pattern_is_stopped(searched, get):
    began = time.monotonic()
    with pytest.raises(Slow):
        searched.pattern(".", timeout_s=0.0)
    assert get(q="(((a*)*)*)*b", mode="regex").status_code == 200 and time.monotonic() - began < 30
    assert get(q="a" * 201, mode="regex").status_code == 400 == get(q="a b c d e f g h i").status_code


def test_the_best_fit_comes_first_and_shows_why(get, client, small_index):
    page = get(q="return").json()
    assert page["sort"] == "match" and "explanations" in page["ranked_by"] and page["n_searched"] > 1000
    fits = [row["match"] for row in page["rows"]]
    assert fits == sorted(fits, reverse=True) and len(page["rows"]) > 3
    for row in page["rows"]:
        assert row["matches"], row["latent"]
        for match in row["matches"]:
            found = "".join(text for text, is_found, _ in match["pieces"] if is_found)
            assert match["where"] in ("explanation", "example", "promoted") and found
            assert match["where"] == "promoted" or "return" in "".join(piece[0] for piece in match["pieces"]).lower()
    assert "<mark>" in client.get(LIST, params={"q": "return"}).text
    both = {row["latent"] for row in get(q="return value").json()["rows"]}
    assert both <= {row["latent"] for row in get(q="value").json()["rows"]} or get(q="value").json()["next"]


def test_markup_in_what_was_found_is_text(client):
    html = client.get(LIST, params={"q": "<script>"}).text
    assert "<script>alert" not in html and "&lt;" in html and html.count("<mark>") > 0


def test_a_quotation_mark_finds_quotation_marks_not_every_rule(get):
    assert _without_quotes('Active on "a", "\\"", "\\\\"; silent.') == 'Active on a, ", \\; silent.'
    page = get(q='"').json()
    assert 0 < page["n_found"] < page["n_latents"]
    assert any(match["where"] == "example" for row in page["rows"] for match in row["matches"])


def test_a_token_is_preferred_by_mass(get, small_index):
    corpus = small_index.corpus
    counts = np.bincount(corpus.tokens[small_index.counted.reshape(corpus.tokens.shape)])
    token = next(n for n in np.argsort(-counts).tolist() if corpus.vocabulary.text(n).isalpha())
    rows = get(q=corpus.vocabulary.text(token), mode="token").json()["rows"]
    there = corpus.tokens.reshape(-1) == token

    def share(latent):
        positions, values = small_index.column(latent)
        on = there[positions]
        return float(np.abs(values[on]).sum() / np.abs(values).sum() * on.sum() / (on.sum() + 4)) if on.any() else 0

    shares = [share(latent) for latent in range(small_index.d_sae)]
    assert [row["match"] for row in rows] == pytest.approx(sorted(shares, reverse=True)[: len(rows)], rel=1e-4)
    assert [row["match"] for row in rows] == pytest.approx([shares[row["latent"]] for row in rows], rel=1e-4)
    found = get(q="no such token", mode="token")
    assert found.status_code == 400 and "mode `text`" in found.json()["todo"]


def test_a_passage_gives_the_latents_that_are_active_in_it(get, small_index):
    passage, corpus = "return value + 3 def", small_index.corpus
    counted, inside = np.flatnonzero(small_index.counted.reshape(-1, corpus.n_ctx).any(1)), set[int]()
    for text, slots in texts(corpus, counted):
        if (start := text.find(b"return value + 3\n\ndef")) >= 0:
            inside |= {slot // (corpus.n_ctx + 1) for slot in slots[start : start + 3]}
    assert inside
    page = get(q=passage, mode="passage").json()
    latents = [row["latent"] for row in all_rows(get, q=passage, mode="passage")]
    assert len(latents) == len({*latents}) == page["n_found"] > 5
    for latent in latents[:5]:
        rows = small_index.column(latent)[0] // corpus.n_ctx
        assert {*rows.tolist()} & {*counted[sorted(inside)].tolist()}
    assert page["rows"][0]["matches"][0]["where"] == "activity"
    assert get(q="zq zq", mode="passage").json()["n_found"] == 0


@pytest.mark.parametrize(
    "sort", ["", "score", "density", "max", "latent", "top", "explanation", "flags", "low", "mean"]
)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_hold_each_row_once_in_order_both_ways(get, sort, order):
    options = {"q": "not:dead", "sort": sort, "order": order}
    pages = pages_of(get, **options)
    latents = [row["latent"] for page in pages for row in page["rows"]]
    assert len(latents) == len({*latents}) == pages[0]["n_found"] and pages[-1]["first"] + len(
        pages[-1]["rows"]
    ) - 1 == len(latents)
    back = get(**options, before=pages[-1]["previous"]).json() if len(pages) > 1 else pages[0]
    assert back["rows"] == pages[max(0, len(pages) - 2)]["rows"]


def test_columns_are_chosen_in_the_address(client, get):
    page = get(columns="mean,active").json()
    assert page["columns"] == ["latent", "mean", "active"] == get(columns=["mean", "active"]).json()["columns"]
    html = client.get(LIST, params={"columns": "mean,active", "q": "return"}).text
    assert "columns=latent,mean,active" in html and "active tokens" in html and "top token</a>" not in html
    file = client.get(f"{LIST}/download", params={"columns": "mean,flags", "q": "return"})
    names = file.text.splitlines()[0].replace('"', "").split(",")
    assert names[:2] == ["latent", "mean"] and "single_token" in names and "score" not in names and names[-1] == "match"
    assert pyarrow.csv is not None and get(columns="everything").status_code == 400


@pytest.mark.parametrize(
    "options",
    [
        {"after": "x,1"},
        {"after": "1,x"},
        {"before": "1.2.3,4"},
        {"after": "1" * 41},
        {"mode": "guess"},
        {"q": "x" * 2001},
        {"columns": ["max"] * 30},
        {"q": "x", "mode": "meaning"},
    ],
)
def test_what_cannot_be_done_is_told_with_400(client, options):
    for address in (LIST, f"{LIST}.json"):
        assert client.get(address, params=options).status_code == 400


@pytest.mark.parametrize(
    "q", ['" OR 1=1 --', "NEAR(a b)", "a* AND", "title:x", "\u202e\u0000", "-", "%", "is:", "density<1e999", "0" * 300]
)
def test_no_words_are_syntax(get, q):
    for mode in ("text", "passage"):
        assert get(q=q, mode=mode).status_code == 200


def test_meaning_is_searched_where_there_are_embeddings(workspace, tmp_path):
    """By the encoder's own nearest; a search before says which command makes them; another index is not searched."""
    copy = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    client, run = TestClient(create_app(copy), base_url="http://127.0.0.1"), Run.open(copy)
    search = {"q": "a number that returns", "mode": "meaning"}
    assert "sparselex embed" in client.get(f"{LIST}.json", params=search).json()["todo"]
    run.do("embed", encoder=str(write_encoder(tmp_path / "encoder")))
    page = client.get(f"{LIST}.json", params=search).json()
    fits = [row["match"] for row in page["rows"]]
    assert page["n_found"] > 10 and fits == sorted(fits, reverse=True) and fits[0] <= 1.001
    run.do("index", n_top=3, replace=True)
    found = client.get(f"{LIST}.json", params=search)
    assert found.status_code == 400 and "another index" in found.json()["message"]
    with pytest.raises(UserError, match="mean pooling"):
        shutil.rmtree(tmp_path / "encoder" / "1_Pooling")
        run.do("embed")


@pytest.mark.parametrize(
    ("options", "words", "mode"),
    [
        ({"q": "no(such&pattern", "mode": "regex"}, "no(such&amp;pattern", "regex"),
        ({"q": "a b c d e f g h i"}, "a b c d e f g h i", "text"),
        ({"q": "is:dead", "columns": "everything"}, "is:dead", "text"),
    ],
)
def test_a_refused_search_keeps_the_form_and_the_words(client, options, words, mode):
    found = client.get(LIST, params=options)
    assert found.status_code == 400 and 'name="columns"' not in found.text
    assert f'action="{LIST}"' in found.text and f'name="q" value="{words}"' in found.text
    assert f'<option value="{mode}" selected>' in found.text


def test_only_a_search_that_was_refused_has_its_form(client):
    assert 'id="search"' not in client.get("/runs/main/features/9999999").text
    assert 'id="search"' not in client.get("/runs/main/features/0?show=nothing").text


def test_a_token_that_was_looked_for_is_code_and_what_is_said_of_it_is_not(client, small_index):
    counts = np.bincount(small_index.corpus.tokens.reshape(-1))
    texts = map(small_index.corpus.vocabulary.text, np.argsort(-counts).tolist())
    token = next(text for text in texts if text.isalpha())
    html = client.get(LIST, params={"q": token, "mode": "token"}).text
    said = (
        rf'<span class="said">[\d.]+ % of its activation on </span><mark>{token}</mark><span class="said">, active on '
    )
    assert re.search(said, html)
