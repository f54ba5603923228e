"""The feature page: what is asked of it stands in the address, and what it shows is what the columns say."""

import itertools
import re

import numpy as np
import pytest

from sparselex.atlas.elsewhere import elsewhere
from sparselex.features.chosen import in_range, near_level, on_tokens
from sparselex.features.records import Histogram
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import Span, Windows
from sparselex.server import charts
from sparselex.server.marking import examples
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.asked import Asked
from sparselex.server.pages.feature import feature
from sparselex.server.pages.flags import flags


@pytest.fixture(scope="module")
def latent(small_index) -> int:
    return int(small_index.table["n_active"].argmax())


@pytest.fixture(scope="module")
def column(small_index, latent):
    """Positions, sizes and rows of the training activations."""
    positions, values = small_index.split_column(latent, "train")
    return positions, np.abs(values), positions // small_index.corpus.n_ctx


@pytest.fixture
def get(client, latent):
    return lambda **asked: client.get(f"/runs/main/features/{latent}.json", params=asked).json()


def best_rows(order, rows, n):
    """The first `n` of an order that lie in different rows: the slow way."""
    found, seen = [], set()
    for place in order:
        if rows[place] not in seen:
            seen.add(rows[place])
            found.append(int(place))
    return found[:n]


@pytest.mark.parametrize("share", [0.0, 0.31, 0.7, 1.0])
def test_examples_nearest_to_a_level(small_index, latent, column, share):
    positions, sizes, rows = column
    level = float(sizes.max()) * share
    slow = best_rows(np.argsort(np.abs(sizes - np.float32(level)), kind="stable"), rows, 12)
    found = near_level(small_index, latent, level, 12)
    assert [one.position for one in found] == positions[slow].tolist() and len(found) == 12


def test_examples_of_a_range_hold_its_upper_end_and_not_its_lower(small_index, latent, column):
    positions, sizes, _rows = column
    low, high = (float(end) for end in np.quantile(sizes, [0.4, 0.6], method="nearest"))
    inside = set(positions[(sizes > np.float32(low)) & (sizes <= np.float32(high))].tolist())
    found, n = in_range(small_index, latent, low, high, 12, seed=3)
    assert n == len(inside) and {one.position for one in found} <= inside and len(found) == 12
    assert len({one.position // small_index.corpus.n_ctx for one in found}) == 12
    assert (
        found
        == in_range(small_index, latent, low, high, 12, seed=3)[0]
        != in_range(small_index, latent, low, high, 12, seed=4)[0]
    )
    assert in_range(small_index, latent, high, low, 12, 0) == ([], 0)


def test_examples_are_chosen_by_the_reader(get, client, small_index, latent, column):
    positions, sizes, rows = column
    first, again, other = (get(show="random", seed=seed)["examples"][0] for seed in (1, 1, 2))
    assert first == again != other and len(first["examples"]) == 12 and first["n"] == len(positions)
    tokens = np.asarray(small_index.corpus.tokens).reshape(-1)[positions]
    word = small_index.corpus.vocabulary.text(int(tokens[0])).strip().upper()
    (page,) = get(show="token", token=word)["examples"]
    among = np.array([word.lower() in small_index.corpus.vocabulary.text(int(token)).lower() for token in tokens])
    slow = best_rows([place for place in np.argsort(-sizes, kind="stable") if among[place]], rows, 12)
    assert page["n"] == among.sum() and [one["position"] for one in page["examples"]] == positions[slow].tolist()
    assert on_tokens(small_index, latent, [], 12) == ([], 0) and get(show="token")["examples"][0]["examples"] == []
    (level,) = get(show="level", level=30)["examples"]
    assert level["low"] == pytest.approx(0.3 * sizes.max(), rel=1e-5)
    ranges = get(show="range")
    assert (ranges["examples"][0]["low"], ranges["examples"][0]["n"]) == (
        ranges["ranges"][0]["low"],
        ranges["ranges"][0]["n"],
    )
    every = get(show="all")["examples"]
    assert [one["show"] for one in every] == ["top", "random"] + ["range"] * len(ranges["ranges"])
    assert get(seed=2**32 - 1)["next_seed"] == 0
    html = client.get(f"/runs/main/features/{latent}", params={"show": "token", "token": "<b>\u202e"}).text
    assert "&lt;b&gt;" in html and "<b>\u202e" not in html


IMPOSSIBLE = {
    "show": ["none"],
    "level": ["101", "-1", "1.5"],
    "low": ["nan", "-1"],
    "high": ["inf", "1e39"],
    "seed": ["-1", str(2**32)],
    "view": ["x"],
    "axis": ["y"],
    "token": ["x" * 101],
    "colour": ["x" * 101],
    "from": ["x" * 1001],
}


@pytest.mark.parametrize("asked", [f"{name}={value}" for name, values in IMPOSSIBLE.items() for value in values])
def test_what_cannot_be_asked_is_refused_in_words(client, latent, asked):
    found = client.get(f"/runs/main/features/{latent}?{asked}")
    assert found.status_code == 400 and asked.partition("=")[0] in found.text


@pytest.mark.parametrize("view", ["snippet", "stack", "row"])
def test_every_view_shows_the_same_places(get, client, small_index, latent, view):
    page = get(view=view)
    shown = page["examples"][0]["examples"]
    assert [one["position"] for one in shown] == [one.position for one in small_index.record(latent).top]
    corpus = small_index.corpus
    if view == "row":
        row, column = divmod(shown[0]["position"], corpus.n_ctx)
        tokens = corpus.tokens[row][corpus.documents[row] == corpus.documents[row, column]].tolist()
        text = "".join(span["text"] for span in shown[0]["spans"])
        whole = "".join(TokenTexts(corpus.vocabulary).signs(tokens).texts)
        assert re.sub(r"[·→\s]", "", text.replace("↵\n", "")) == re.sub(r"\s", "", whole)
        assert text.count("↵\n") == whole.count("\n") > 0
    html = client.get(f"/runs/main/features/{latent}", params={"view": view}).text
    assert html.count('class="lead"') == (len(shown) if view == "stack" else 0)


def test_the_histogram_counts_what_the_column_holds(small_index, latent, get):
    """On both axes, and coloured: each bar against a count one by one, its upper edge included."""
    positions, values = small_index.column(latent)
    tokens = np.asarray(small_index.corpus.tokens).reshape(-1)[positions]
    blank = np.array([small_index.corpus.vocabulary.text(int(token))[:1].isspace() for token in tokens])
    sizes = np.abs(values)
    for axis in ("linear", "log"):
        view = get(axis=axis, colour=r"^\s")["activity"]
        edges = np.asarray(view["edges"], dtype=np.float32)
        for place, (low, high) in enumerate(itertools.pairwise(edges)):
            inside = (sizes > low) & (sizes <= high)
            assert view["matching"][place] == (inside & blank).sum(), (axis, place)
            assert view["counts"][place] == inside.sum(), (axis, place)
        assert sum(view["counts"]) == len(values) and view["words"] == "with a blank in front"
    assert get()["activity"]["matching"] == []


@pytest.mark.parametrize("colour", ["(", "(((a{1000}){1000}){1000})", r"(?<=a)b", "\\", "[z-a]", "(" * 100])
def test_an_expression_that_cannot_be_read_is_said_to_be(client, get, latent, colour):
    view = get(colour=colour)["activity"]
    assert view["error"] and view["matching"] == [] and sum(view["counts"])
    html = client.get(f"/runs/main/features/{latent}", params={"colour": colour})
    assert html.status_code == 200 and "is no expression that can be read" in html.text


@pytest.mark.parametrize("colour", [r"(a*)*$", r"(.*.*.*)*x", "<b>", "\x00\u202e"])
def test_no_expression_takes_long(client, get, latent, colour):
    assert get(colour=colour)["activity"]["error"] == ""
    assert "that match <b>" not in client.get(f"/runs/main/features/{latent}", params={"colour": colour}).text


def test_what_decides_stands_first(client, workspace, small_index):
    """Label, score with null, effects or that they were not measured; a feature without a score is unscored."""
    opened = OpenWorkspace(workspace)
    entries = opened.explained.entries(small_index)
    has_score = lambda latent: bool(found := entries.get(latent)) and bool(found[0].headlines)
    scored = next(one for one in range(small_index.d_sae) if has_score(one))
    page = feature(opened, "main", scored)
    assert page.headline is not None and page.headline.value == entries.get(scored)[0].headlines[0].value
    first = client.get(f"/runs/main/features/{scored}").text.split('<div class="columns">')[0]
    assert f"{page.headline.value:.3f}" in first and "null" in first and "not measured" in first
    without = next(one for one in range(small_index.d_sae) if not has_score(one))
    assert "unscored" in client.get(f"/runs/main/features/{without}").text.split('<div class="columns">')[0]


def test_flags_name_their_bars(small_index):
    record = small_index.record(3)
    near = record.neighbours[0].model_copy(update={"cosine": 0.95})
    for changes, names in (
        ({"dead": True, "density": 0.0}, ["dead"]),
        ({"dead": False, "density": 9e-6}, ["rare"]),
        ({"dead": False, "density": 0.11}, ["dense"]),
        ({"dead": False, "density": 0.01, "neighbours": [near]}, [f"duplicate of {near.latent}"]),
    ):
        asked = record.model_copy(update={"neighbours": []} | changes)
        assert [flag.name for flag in flags(asked, 10**6, single_token=False)] == names
        assert flags(asked, 10**6, single_token=True)[-1 - ("neighbours" in changes)].name in ("single-token", *names)


def test_previous_and_next_follow_the_list_that_the_reader_came_from(client, get, latent):
    listed = client.get("/runs/main/features.json", params={"q": "density>0.001", "sort": "density"}).json()
    first, second, third = (row["latent"] for row in listed["rows"][:3])
    came = {"from": "q=density%3E0.001&sort=density&page=1"}
    page = client.get(f"/runs/main/features/{second}.json", params=came).json()["within"]
    assert (page["previous"], page["place"], page["next"], page["n"]) == (first, 2, third, listed["n_found"])
    html = client.get(f"/runs/main/features/{second}", params=came | {"view": "stack"}).text
    assert f'id="next" rel="next" href="/runs/main/features/{third}?view=stack&amp;from=q%3Ddensity' in html
    for words in ("q=no+such+thing", "sort=nonsense&order=up&page=x", "%", "&" * 500, "=" * 1000):
        page = client.get(f"/runs/main/features/{second}.json", params={"from": words})
        assert page.status_code == 200 and page.json()["within"]["n"] > 0


def test_where_there_is_no_other_nothing_leads_to_the_same(client, get, latent):
    html = client.get(f"/runs/main/features/{latent}", params={"from": f"q={latent}"}).text
    assert "1 of 1" in html and 'id="next"' not in html and 'id="previous"' not in html


def test_correlations_with_neurons_stand_beside_their_chance_level(client, get, small_index, latent):
    chance = client.get(f"/runs/main/features/{latent}.json").json()["relations"]["neuron_chance"]
    assert chance == small_index.record(latent).neuron_chance and 0 < chance < 1
    html = client.get(f"/runs/main/features/{latent}").text
    assert f"({chance:.2f})</span></li>" in html and "shifted to other tokens" in html


def test_the_address_holds_what_is_asked_and_no_more():
    assert Asked().query() == "" and Asked(show="level", level=30).query() == "?show=level&level=30"
    asked = Asked(**{"from": "q=a&sort=max", "view": "row", "low": 1.5, "high": 2.0, "show": "range"})
    assert asked.query(view="snippet") == "?show=range&low=1.5&high=2.0&from=q%3Da%26sort%3Dmax"
    assert asked.other_latent() == "?view=row&from=q%3Da%26sort%3Dmax"


def test_a_log_axis_is_drawn_by_powers():
    chart = charts.activations(Histogram(edges=[0.5, 2**-0.5, 1.0, 2**0.5, 2.0], counts=[1, 0, 3, 1]))
    bars = chart.series[0].bars
    assert {round(bar.width, 1) for bar in bars} == {78.0} and chart.x_ticks[-1].label == "2.0"


def test_the_same_feature_in_other_runs(client, workspace, small_index, latent):
    opened = OpenWorkspace(workspace)
    (other,) = client.get(f"/runs/main/features/{latent}/elsewhere.json").json()["others"]
    assert other["run"]["name"] == "twin" and other["by"] == "activation"
    near = elsewhere(small_index, latent, opened.index("twin").index, 3)
    assert [one["near"] for one in other["found"]] == [one.to_json() for one in near]
    html = client.get(f"/runs/main/features/{latent}/elsewhere").text
    assert f'href="/runs/twin/features/{near[0].latent}"' in html
    assert client.get("/runs/main/features/99999/elsewhere").status_code == 404


def test_tokens_of_a_place_are_listed_with_their_bytes(client, small_index, latent):
    position = small_index.record(latent).top[0].position
    page = client.get(f"/runs/main/features/{latent}/at/{position}.json").json()
    vocabulary, tokens = small_index.corpus.vocabulary, np.asarray(small_index.corpus.tokens).reshape(-1)
    values = dict(zip(*(part.tolist() for part in small_index.column(latent)), strict=True))
    for piece in page["pieces"]:
        assert piece["token"] == tokens[piece["position"]] and piece["value"] == values.get(piece["position"], 0)
        assert bytes.fromhex(piece["data"]) == vocabulary.token_bytes(piece["token"])
    assert position in [piece["position"] for piece in page["pieces"]] and len(page["pieces"]) > 12


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_parts_come_in_place_and_the_address_follows(browser, address, latent, scheme):
    """Tabs, views, bars, ranges, colours and the slider, by mouse and by keyboard; nothing jumps; reloading shows the
    same."""
    tab = browser.new_page(color_scheme=scheme, viewport={"width": 1360, "height": 900})
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    here = f"{address}/runs/main/features/{latent}"
    tab.goto(here)
    assert tab.evaluate("document.documentElement.scrollHeight") < 4400
    assert tab.locator("#examples li[data-value]").first.bounding_box()["y"] < 520, "examples on the first screen"
    tab.evaluate("window.mine = true; scrollTo({ top: 200, behavior: 'instant' })")
    for name, words in (("show-random", "show=random"), ("view-stack", "view=stack"), ("show-level", "show=level")):
        before = tab.locator(f"#{name}").bounding_box()["y"]
        tab.click(f"#{name}")
        tab.wait_for_selector(f"#{name}[aria-current]")
        assert words in tab.url and tab.evaluate("scrollY") == 200
        assert abs(tab.locator(f"#{name}").bounding_box()["y"] - before) < 1
        assert tab.evaluate("document.activeElement.id") == name
    tab.locator("#level").focus()
    tab.keyboard.press("Home")
    tab.wait_for_url("**level=0**")
    lines = tab.locator("#shown li").first.inner_text()
    assert tab.evaluate("document.activeElement.id") == "level", "the slider stays under the hand"
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("v")
    tab.wait_for_selector("#view-row[aria-current]")
    tab.go_back()
    tab.wait_for_selector("#view-stack[aria-current]")
    tab.fill("#colour", r"^\s")
    tab.press("#colour", "Enter")
    tab.wait_for_selector("#histogram.coloured")
    assert "share of each bar" in tab.locator(".colours").inner_text()
    tab.locator("#histogram a").last.click()
    tab.wait_for_url("**show=range**")
    tab.wait_for_selector("#show-range[aria-current]")
    assert tab.evaluate("window.mine"), "all of it on one page"
    shown = tab.locator("#shown").inner_text()
    tab.reload()
    assert tab.locator("#shown").inner_text() == shown != lines and complaints == []
    assert "colour=" in tab.get_attribute("#next", "href") and "low=" not in tab.get_attribute("#next", "href")
    tab.close()


@pytest.mark.slow
def test_j_walks_the_list_that_was_left(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/runs/main/features?sort=density")
    numbers = tab.locator("main table tbody tr td:first-child").all_inner_texts()[:3]
    tab.locator("main table tbody a").first.click()
    tab.wait_for_url(f"**/features/{numbers[0]}?from=sort%3Ddensity")
    for number in numbers[1:]:
        tab.keyboard.press("j")
        tab.wait_for_url(f"**/features/{number}?from=**")
    assert "3 of" in tab.locator("#others").inner_text()
    tab.close()


@pytest.mark.slow
def test_all_of_it_works_without_scripts(browser, address, latent):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}/runs/main/features/{latent}")
    tab.click("#show-level")
    tab.locator("#level").press("End")
    tab.click("#examples form button")
    tab.wait_for_url("**level=100**")
    tab.locator("#examples li").first.wait_for()
    tab.click("#show-range")
    tab.locator(".ranges a").last.click()
    tab.wait_for_url("**high=**")
    tab.locator("#examples li").first.wait_for()
    context.close()


def test_text_read_from_the_right_is_set_so(small_index, latent):
    """By most of its letters, numbers of broken bytes apart."""
    view = Windows(small_index, latent, TokenTexts(small_index.corpus.vocabulary)).view(
        small_index.record(latent).top[0]
    )
    for texts, direction in (
        (["\\xd9", "كتب", " ab"], "rtl"),
        (["abcdef ", "كتب"], "ltr"),
        (["x = 1"], "ltr"),
        (["שלום ", "\\xa9"], "rtl"),
    ):
        html = examples([view.model_copy(update={"spans": [Span(text) for text in texts]})])
        assert f'class="tokens" dir="{direction}"' in html
        assert ("<bdi>\\x" in html) == (direction == "rtl" and any(text.startswith("\\x") for text in texts))
