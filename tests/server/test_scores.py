"""Latents explained by several and scored by several: every list says whose, by whom and by which measure, and goes by
that one alone; what is searched is what everybody says."""

import io
import re
import shutil
from html import unescape

import numpy as np
import pyarrow.csv
import pytest
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.embedding.records import EXPLAINERS, Embeddings
from sparselex.explain.embedding.words import Described
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.server.gallery import gallery
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.compare import looked_at
from sparselex.server.pages.features import features
from sparselex.server.pages.map import open_map
from sparselex.server.whole import whole_gallery
from tests.support.judged import JUDGES, judge
from tests.support.small_encoder import write_encoder

LIST = "/runs/main/features"
KEYS = [f"{who}/{judge}/{metric}" for who in ("llm", "second") for judge, metric in JUDGES.items()]


@pytest.fixture(scope="module")
def judged(small_workspace, small_index, tmp_path_factory) -> Workspace:
    """Every fourth latent is explained by llm, every sixth by second, beside the rules of all."""
    copy = Workspace(shutil.copytree(small_workspace.path, tmp_path_factory.mktemp("judged") / "w"))
    alive = np.flatnonzero(small_index.table["n_active"]).tolist()
    judge(copy.database, small_index.id, "llm", alive[::4], words="says return of")
    judge(copy.database, small_index.id, "second", alive[::6])
    Run.open(copy, "main").do("map", layout="pca", least_cluster=3)
    return copy


@pytest.fixture(scope="module")
def get(judged):
    client = TestClient(create_app(judged), base_url="http://127.0.0.1")
    return lambda path=LIST, **options: client.get(path, params=options)


@pytest.fixture(scope="module")
def scores(judged, small_index):
    """By key and latent, row by row out of the store."""
    found: dict[str, dict] = {}
    for latent in range(small_index.d_sae):
        for one in ExplanationStore(judged.database).scores(small_index.id, latent=latent):
            found.setdefault(f"{one.explainer}/{one.scorer}/{one.metric}", {})[latent] = one
    return found


def every(get, **options) -> list[dict]:
    pages = [get(f"{LIST}.json", **options).json()]
    while pages[-1]["next"]:
        pages.append(get(f"{LIST}.json", **options, after=pages[-1]["next"]).json())
    return [row for page in pages for row in page["rows"]]


def test_the_list_names_what_it_can_be_scored_by_and_takes_that_of_most_latents(get, scores):
    page = get(f"{LIST}.json").json()
    assert [one["key"] for one in page["scores"]] == ["rule/exact/f1", *KEYS], "rules first, judges in their order"
    assert [one["n_latents"] for one in page["scores"]] == [len(scores[one["key"]]) for one in page["scores"]]
    assert page["score"]["key"] == "rule/exact/f1" and not page["score_chosen"]
    html = get(score=KEYS[1]).text
    assert "llm, embedding: AUROC (null)" in html and f'<option value="{KEYS[1]}" selected>' in html


@pytest.mark.parametrize("key", ["", *KEYS])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_order_and_rows_are_of_the_chosen_score_alone(get, scores, key, order):
    rows, of = every(get, score=key, order=order), scores[key or "rule/exact/f1"]
    found = [(row["score"]["value"], row["latent"]) for row in rows if row["score"]]
    sign = 1 if order == "asc" else -1
    assert found == sorted(((one.value, latent) for latent, one in of.items()), key=lambda one: (sign * one[0], one[1]))
    assert [row["latent"] for row in rows[len(found) :]] == sorted({row["latent"] for row in rows} - of.keys())
    for row in rows[: len(found)]:
        one, shown = of[row["latent"]], row["score"]
        assert [shown[name] for name in ("scorer", "metric", "null", "ci_low", "ci_high", "n")] == [
            *(one.scorer, one.metric, one.null, one.ci_low, one.ci_high, one.n)
        ]
        assert row["explanations"][0]["explainer"] == one.explainer, "what is scored is said first"


@pytest.mark.parametrize("key", ["", *KEYS])
def test_conditions_are_on_the_chosen_score(get, scores, key):
    of = scores[key or "rule/exact/f1"]
    for q, holds in {
        "score>0.4": lambda one: one.value > 0.4,
        "null>=0.5": lambda one: one.null is not None and one.null >= 0.5,
        "low<0.3": lambda one: one.ci_low is not None and one.ci_low < 0.3,
        "is:scored": lambda one: True,
    }.items():
        found = {row["latent"] for row in every(get, q=q, score=key)}
        assert found == {latent for latent, one in of.items() if holds(one)}, q
    explained = {row["latent"] for row in every(get, q="is:explained", score=key)}
    assert explained == {
        row["latent"] for row in every(get) if any(one["status"] == "explained" for one in row["explanations"])
    }, "by anybody"


def test_the_choice_survives_whatever_else_is_asked(get):
    html = get(score=KEYS[2], q="not:dead", columns="score,density", sort="density").text
    links = [unescape(link) for link in re.findall(r'href="(\?[^"]*|[^"]*download\?[^"]*)"', html)]
    assert len(links) > 5 and all("score=second/detection/balanced_accuracy" in link for link in links)
    forms = re.findall(r"<form.*?</form>", html, re.DOTALL)
    assert len(forms) == 3 and all('name="score"' in form for form in forms)
    of_score = next(form for form in forms if "<select" in form and "Show" in form)
    for name, value in {"q": "not:dead", "sort": "density", "order": "desc", "columns": "latent,score,density"}.items():
        assert f'name="{name}" value="{value}"' in of_score, name
    assert "score=" not in " ".join(re.findall(r'href="(\?[^"]*)"', get(q="not:dead").text)).replace("sort=score", "")


def test_the_next_feature_is_the_next_of_the_list_that_was_left(get):
    rows = every(get, score=KEYS[0])
    asked = {"from": f"score={KEYS[0]}&sort=score"}
    within = get(f"{LIST}/{rows[1]['latent']}.json", **asked).json()["within"]
    assert (within["previous"], within["next"]) == (rows[0]["latent"], rows[2]["latent"])
    assert get(f"{LIST}/{rows[1]['latent']}", **{"from": "score=nobody/knows/this"}).status_code == 200


def test_a_score_that_there_is_not_is_told_with_those_that_there_are(get):
    for path in (LIST, f"{LIST}.json", f"{LIST}/download"):
        found = get(path, score="llm/detection/recall")
        assert found.status_code == 400 and "rule/exact/f1" in unescape(found.text) and "score" in found.text
    assert get(score="x" * 300).status_code == 400


def test_the_file_has_the_chosen_score_with_its_null_and_n(get, scores):
    rows = pyarrow.csv.read_csv(io.BytesIO(get(f"{LIST}/download", score=KEYS[3]).content)).to_pylist()
    scored = [row for row in rows if row["score"] is not None]
    assert len(scored) == len(scores[KEYS[3]])
    for row in scored:
        one = scores[KEYS[3]][row["latent"]]
        assert (row["scored"], row["scorer"], row["metric"]) == ("second", "embedding", "auroc")
        assert (row["score"], row["null"], row["n"], row["explainer"]) == (one.value, one.null, one.n, "second")
    others = [row for row in rows if row["score"] is None]
    assert all(not row["scorer"] and row["n"] is None for row in others)


def test_the_alphabet_is_of_what_stands_first(get):
    rows = [row for row in every(get, score=KEYS[2], sort="explanation", order="asc") if row["explanations"]]
    by_second = [row["latent"] for row in rows if row["explanations"][0]["explainer"] == "second"]
    texts = [row["explanations"][0]["title"] for row in rows if row["latent"] in by_second]
    assert texts == sorted(texts) and len(texts) > 10


def test_words_are_looked_for_in_what_everybody_says(get):
    rows = every(get, q="explanation:second")
    assert rows and {row["latent"] for row in rows} == {
        row["latent"] for row in every(get, q="is:scored", score=KEYS[2])
    }
    rows = every(get, q="second on")
    assert len(rows) == len({row["latent"] for row in rows}), "each once"
    for row in rows:
        where = {(match["where"], match["explainer"]) for match in row["matches"]}
        assert ("explanation", "second") in where or all(place != "explanation" for place, _ in where)
    both = next(row for row in every(get, q="says return") if len(row["explanations"]) > 1)
    assert ("explanation", "llm") in {(match["where"], match["explainer"]) for match in both["matches"]}
    assert 'class="quiet">explanation by llm</span>' in get(q="says return").text


def test_a_word_that_several_say_is_shown_where_it_ranks_highest(judged, small_index, tmp_path):
    copy = Workspace(shutil.copytree(judged.path, tmp_path / "w"))
    (latent, *_) = np.flatnonzero(small_index.table["n_active"]).tolist()
    judge(copy.database, small_index.id, "late", [latent], words="a long way to zebras")
    judge(copy.database, small_index.id, "soon", [latent], words="zebras")
    (row,) = features(OpenWorkspace(copy), "main", q="zebras").rows
    assert [(one.explainer, row.latent) for one in row.matches if one.where == "explanation"] == [("soon", latent)]
    assert row.match == pytest.approx(0.5), "of the nearer one, not of both"


@pytest.fixture(scope="module")
def embedded(judged, tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("embedded")
    copy = Workspace(shutil.copytree(judged.path, folder / "w"))
    Run.open(copy).do("embed", encoder=str(write_encoder(folder / "encoder")))
    return copy


def test_meaning_is_looked_for_in_what_everybody_says(embedded, small_index):
    """Against the cosine of every explanation by itself, the best of each latent taken."""
    found, store = Embeddings(embedded.run("main") / "embeddings"), ExplanationStore(embedded.database)
    described = Described(small_index, store, found.config.n_examples)
    alive = np.flatnonzero(small_index.table["n_active"]).tolist()
    rows = described.rows(alive)
    assert [(row.latent, row.explainer) for row in rows] == list(
        zip(found.latents.tolist(), found.explainers, strict=True)
    )
    assert {row.explainer for row in rows} >= {"rule", "llm", "second"}
    encoder, words = Encoder(found.config.encoder), "says return of"
    asked, best = encoder.embed(words), dict[int, tuple[float, str]]()
    for row, vector in zip(rows, found.vectors.astype(np.float32), strict=True):
        best[row.latent] = max(best.get(row.latent, (-2.0, "")), (float(vector @ asked), row.explainer))
    page = features(OpenWorkspace(embedded), "main", q=words, mode="meaning")
    assert not page.notice and page.n_found == len(alive), "each once"
    assert [row.match for row in page.rows] == pytest.approx(
        sorted((cosine for cosine, _ in best.values()), reverse=True)[: len(page.rows)], abs=2e-3
    )
    for row in page.rows:
        assert row.match == pytest.approx(best[row.latent][0], abs=2e-3)
        assert [one.explainer for one in row.matches] == [best[row.latent][1]] or not best[row.latent][1]
    assert {row.matches[0].explainer for row in page.rows if row.matches} & {"llm", "second"}


def test_what_was_said_since_is_told_and_read_by_the_same_command(embedded, small_index, tmp_path):
    copy = Workspace(shutil.copytree(embedded.path, tmp_path / "w"))
    search = {"q": "says return of", "mode": "meaning"}
    client = TestClient(create_app(copy), base_url="http://127.0.0.1")
    assert "explained anew" not in client.get(LIST, params=search).text
    judge(copy.database, small_index.id, "third", [int(np.flatnonzero(small_index.table["n_active"])[0])])
    told = client.get(LIST, params=search).text
    assert "explained anew" in told and f"sparselex embed {copy.typed} --run main" in told
    Run.open(copy).do("embed")
    assert "explained anew" not in client.get(LIST, params=search).text
    assert "third" in Embeddings(copy.run("main") / "embeddings").explainers


def test_embeddings_of_an_earlier_version_are_read_without_knowing_whose(embedded):
    found = Embeddings(embedded.run("main") / "embeddings")
    files = {name: entry for name, entry in found.manifest.files.items() if name != EXPLAINERS}
    found.manifest = found.manifest.model_copy(update={"files": files})
    assert set(found.explainers) == {""} and len(found.explainers) == len(found.latents)


def test_a_feature_says_who_explains_who_judges_null_and_n(get, scores):
    latent = next(
        latent for latent in scores[KEYS[0]] if latent in scores[KEYS[2]] and latent in scores["rule/exact/f1"]
    )
    page, html = get(f"{LIST}/{latent}.json").json(), get(f"{LIST}/{latent}").text
    assert [one["explainer"] for one in page["explanations"]] == ["rule", "llm", "second"], "as in lists"
    assert page["headline"]["explainer"] == "rule" and "rule, exact: F1" in html
    cards = html.split('<section class="card explanation"')[1:]
    for card, who in zip(cards, ("rule", "llm", "second"), strict=True):
        assert f"<h3>{who}</h3>" in card
    assert "embedding: AUROC" in cards[1] and f">{50 + latent}</td>" in cards[1]


def test_files_name_the_score_of_their_list(judged, small_index):
    whole = whole_gallery(judged, "main")
    head = whole.split("<thead>")[1].split("</thead>")[0]
    assert "rule, exact: F1 (null)" in head
    null, n = r'<span class="quiet">\([\d.–]+\)', r"<small[^>]*>[^<]*n&nbsp;[\d,]+<"
    assert re.search(rf'class="score"><b>[\d.]+</b> {null}{n}', whole)
    said = [latent for latent, who in ExplanationStore(judged.database).explained(small_index.id) if who == "llm"]
    assert "<h3>llm</h3>" in gallery(judged, "main", said[:1], n_random=0) and "<h3>llm</h3>" in whole


def test_a_latent_beside_another_has_its_null_and_n(judged, scores):
    latent = next(iter(scores["rule/exact/f1"]))
    brief = looked_at(OpenWorkspace(judged), "main", latent).brief
    one = scores["rule/exact/f1"][latent]
    assert brief.scored_by.key == "rule/exact/f1"
    assert (brief.score.value, brief.score.null, brief.score.n) == (one.value, one.null, one.n)


def test_nothing_scored_is_no_choice(judged, small_index, tmp_path):
    copy = Workspace(shutil.copytree(judged.path, tmp_path / "w"))
    copy.database.unlink()
    page = features(OpenWorkspace(copy), "main")
    assert page.score is None and page.scores == [] and all(row.score is None for row in page.rows)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 380])
def test_the_score_is_chosen_by_hand(browser, judged, width):
    client = TestClient(create_app(judged), base_url="http://127.0.0.1")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.route("**/*", lambda route: _answer(client, route))
    page.goto(f"http://127.0.0.1{LIST}?q=not:dead&sort=density")
    page.get_by_label("Scores:").select_option(KEYS[0])
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**score=llm**")
    assert "q=not%3Adead" in page.url and "sort=density" in page.url
    page.get_by_role("link", name=re.compile("Next")).click()
    page.wait_for_url("**after=**")
    assert "score=llm" in page.url and page.get_by_label("Scores:").input_value() == KEYS[0]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.close()


def _answer(client, route):
    found = client.get(route.request.url)
    route.fulfill(status=found.status_code, headers=dict(found.headers), body=found.content)


@pytest.mark.parametrize("key", ["", *KEYS])
def test_the_map_has_the_scores_that_are_chosen(judged, get, scores, key):
    here, by = "/runs/main/map", key or "rule/exact/f1"
    page = get(f"{here}.json", score=key, color="score").json()
    assert page["scored_by"]["key"] == by and {one["key"] for one in page["scores"]} == {"rule/exact/f1", *KEYS}
    placed = open_map(OpenWorkspace(judged), "main").map.latents.tolist()
    there = [latent for latent in placed if latent in scores[by]]
    assert page["steps"][0]["n"] == len(placed) - len(there) and sum(one["n"] for one in page["steps"]) == len(placed)
    first = max(there, key=lambda latent: scores[by][latent].value)
    assert page["rows"][0]["score"]["value"] == scores[by][first].value, "the best first"
    store, index = ExplanationStore(judged.database), OpenWorkspace(judged).index("main").index
    said = {one.latent: one.title for one in store.all(index.id, by.partition("/")[0])}
    assert {row["title"] for row in page["rows"] if row["score"]} <= set(said.values()), "in the words that are scored"
    steps = np.frombuffer(
        get(f"{here}/points", score=key, color="score").content, "u1", len(placed), 4 + 12 * len(placed)
    )
    assert ((steps > 0) == np.isin(placed, there)).all(), "and the picture's colours are of it"
    assert get(f"{here}/latents/{first}.json", score=key).json()["score"]["value"] == scores[by][first].value
    fits = get(f"{here}.json", score=key, q="is:scored").json()
    assert fits["n_found"] == len(there), "and conditions are about it"
    form = get(here, score=key).text
    assert f'<option value="{by}" selected>' in form and form.count("<option") == 1 + len(KEYS)
    if key:
        assert f"score={key.replace('/', '%2F')}" in form or f"score={key}" in form


def test_a_score_that_the_map_has_not_is_refused_in_words(get):
    assert get("/runs/main/map", score="nobody/says/so").status_code == 400
