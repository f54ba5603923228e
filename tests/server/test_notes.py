"""What people write: kept when it is answered, lost by nobody's doing, and shown as it was written."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.app import create_app, server_of
from sparselex.server.notes.markdown import from_markdown, to_markdown
from sparselex.server.notes.merging import merge
from sparselex.server.notes.operations import Overtaken
from sparselex.server.notes.records import Feature
from sparselex.server.notes.store import NoteStore, change, texts_of
from tests.support.command import sparselex

OWN = {"sec-fetch-site": "same-origin"}
HOSTILE = ["a/b", "x?y#z&c=d 100%", '<script>alert("x")</script> {{ 7*7 }}', "שלום ל\u202eעולם", "…/ü'\"`|\\"]


@pytest.fixture(scope="module")
def own(workspace, tmp_path_factory) -> Workspace:
    """A copy that is written to."""
    path = tmp_path_factory.mktemp("written") / "workspace"
    shutil.copytree(workspace.path, path)
    return Workspace(path)


@pytest.fixture(scope="module")
def client(own) -> TestClient:
    return TestClient(create_app(own), base_url="http://127.0.0.1", follow_redirects=False, headers=OWN)


@pytest.fixture(scope="module")
def served(own):
    """A real server over the copy."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(own))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def store(tmp_path) -> NoteStore:
    return NoteStore(tmp_path / "x.sqlite")


def of(own, latent: int, run: str = "main") -> dict:
    """A feature, as operations name it."""
    dictionary = own.artifacts(run)["index"].inputs["dictionary"]
    return {"run": run, "dictionary": dictionary, "latent": latent}


def kept(client, latent: int) -> dict:
    return client.get(f"/runs/main/features/{latent}/notes.json").json()["notes"]


def test_what_is_written_stands_on_the_pages_and_comes_back_by_json(client, own):
    one = of(own, 2)
    for operation in (
        {"do": "label", "text": "  closes a <call> "},
        {"do": "star", "on": True},
        {"do": "note", "text": "line one\r\n\r\n# line <two>\n"},
        {"do": "list-add", "list": "closing"},
        {"do": "comment", "list": "closing", "text": "the best"},
    ):
        assert client.post("/notes", json=one | operation).status_code == 200
    found = kept(client, 2)
    assert [label["text"] for label in found["labels"]] == ["closes a <call>"] and len(found["stars"]) == 1
    assert [note["text"] for note in found["notes"]] == ["line one\n\n# line <two>"]
    for page in ("/runs/main/features/2", "/notes"):
        shown = client.get(page).text
        assert "closes a &lt;call&gt;" in shown and "# line &lt;two&gt;" in shown and "★" in shown, page
    assert "closes a &lt;call&gt;" in client.get("/lists/closing").text
    assert client.get("/lists/closing.json").json()["items"][0]["item"]["text"] == "the best"
    assert texts_of(own, one["dictionary"], "main")[2] == "closes a <call>\nline one\n\n# line <two>\nthe best"
    assert kept(client, 3)["labels"] == [] == kept(client, 3)["items"]


@pytest.mark.parametrize("kind", ["label", "note", "comment", "list", "study"])
def test_who_writes_over_what_they_have_not_seen_is_told(store, kind):
    one = {"run": "main", "dictionary": "d", "latent": 1}
    first = {
        "label": one,
        "note": one | {"id": "a" * 16},
        "comment": one | {"list": "l"},
        "list": {"name": "l"},
        "study": {"id": "b" * 16, "title": "t"},
    }[kind]
    field = "words" if kind == "list" else "text"
    store.write(change(one | {"do": "list-add", "list": "l"}))
    seen = {"version": store.lists()[0].version} if kind == "list" else {}

    def write(text: str, **more):
        return store.write(change({"do": kind, **first, field: text, **more}))

    mine = write("mine", **seen)
    with pytest.raises(Overtaken) as told:
        write("theirs", **seen)
    assert (told.value.now, told.value.version) == ("mine", mine.version)
    assert write("mine", **seen) == mine, "the same again is no conflict: its answer may have been lost"
    again = write("theirs", version=mine.version)
    assert again.version > mine.version
    if kind in ("label", "note"):
        assert write("", version=again.version).version == 0
        with pytest.raises(Overtaken):
            write("after it was taken away", version=again.version)
        assert write("anew").version > again.version, "a version that was seen never comes again"


def test_what_is_told_to_a_page_and_to_a_form(client, own):
    one = of(own, 4) | {"do": "label", "version": 0}
    version = client.post("/notes", json=one | {"text": "first"}).json()["version"]
    told = client.post("/notes", json=one | {"text": "second"})
    assert told.status_code == 409 and (told.json()["now"], told.json()["version"]) == ("first", version)
    page = client.post("/notes", data=one | {"text": "second & <b>"}, headers={"accept": "text/html"})
    assert page.status_code == 409 and "second &amp; &lt;b&gt;" in page.text and ">first<" in page.text
    assert f'name="version" value="{version}"' in page.text
    done = client.post("/notes", data=one | {"text": "second", "version": version, "back": "/runs/main/features/4"})
    assert (done.status_code, done.headers["location"]) == (303, "/runs/main/features/4")
    assert client.post("/notes", json={"do": "unpin", **of(own, 4), "study": "0" * 16}).status_code == 200
    assert client.post("/notes", json={"do": "pin", **of(own, 4), "study": "0" * 16}).status_code == 404


@pytest.mark.parametrize("back", ["//evil.example/", "http://evil.example", "/\\evil.example", "/a\r\nx: y", "", "/ä"])
def test_a_form_leads_nowhere_else(client, own, back):
    done = client.post("/notes", data=of(own, 5) | {"do": "star", "on": "true", "back": back})
    assert (done.status_code, done.headers["location"]) == (303, "/notes")


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("headers", "kind", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, "application/json", 200),
        ({"origin": "http://127.0.0.1"}, FORM, 200),
        ({"origin": "http://127.0.0.1:80"}, "application/json", 200),
        ({}, "application/json", 200),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"}, "application/json", 403),
        ({"sec-fetch-site": "same-site"}, FORM, 403),
        ({"sec-fetch-site": "none"}, FORM, 403),
        ({"origin": "http://evil.example"}, "application/json", 403),
        ({"origin": "http://127.0.0.1:8888"}, "application/json", 403),
        ({"origin": "null"}, "application/json", 403),
        ({}, FORM, 403),
        ({"sec-fetch-site": "same-origin"}, "text/plain", 415),
        ({"sec-fetch-site": "same-origin"}, "multipart/form-data; boundary=x", 415),
        ({"host": "evil.example", "origin": "http://evil.example"}, "application/json", 421),
    ],
)
def test_only_pages_of_this_server_write(own, headers, kind, status):
    stranger = TestClient(create_app(own), base_url="http://127.0.0.1", follow_redirects=False)
    body = json.dumps(of(own, 6) | {"do": "star", "on": True})
    if kind == FORM:
        body = "&".join(f"{name}={value}" for name, value in (of(own, 6) | {"do": "star", "on": "true"}).items())
    found = stranger.post("/notes", content=body, headers={"content-type": kind, **headers})
    assert found.status_code == (303 if kind == FORM and status == 200 else status), found.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 10_000_000, 413),
        (b'{"do": "star"', 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"", 400),
        (b'{"do": "note", "text": "\\ud800"}', 400),
        (b'{"do": "nothing"}', 400),
        (b'{"do": {"do": 1}}', 400),
        (b'{"do": "star", "run": "../x", "dictionary": "d", "latent": 1, "on": true}', 400),
        (b'{"do": "star", "run": "main", "dictionary": "d", "latent": 1' + b"0" * 5000 + b', "on": true}', 400),
        (b'{"do": "star", "run": "main", "dictionary": "d", "latent": -1, "on": true}', 400),
        (b'{"do": "label", "run": "main", "dictionary": "d", "latent": 1, "text": "a\\nb"}', 400),
        (b'{"do": "label", "run": "main", "dictionary": "d", "latent": 1, "text": "' + b"x" * 201 + b'"}', 400),
        (b'{"do": "list", "name": ""}', 400),
        (b'{"do": "list", "name": "x/../y"}', 400),
        (b'{"do": "list", "name": "x.json"}', 400),
        (b'{"do": "list", "name": "x", "more": 1}', 400),
    ],
)
def test_what_is_no_operation_is_refused_in_words(client, body, status):
    before = client.get("/notes.json").json()
    found = client.post("/notes", content=body, headers={"content-type": "application/json"})
    assert found.status_code == status and found.json()["message"] and found.json()["todo"]
    assert client.get("/notes.json").json() == before


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_has_an_address_and_is_shown_as_it_is(client, own, name):
    assert client.post("/notes", json=of(own, 7) | {"do": "list-add", "list": name}).status_code == 200
    address = f"/lists/{quote(name)}"
    assert client.get(f"{address}.json").json()["listed"]["name"] == name
    page = client.get(address)
    assert page.status_code == 200 and f'href="{quote(address)}"' not in page.text and "<script>alert" not in page.text
    for listing in ("/lists", "/runs/main/features/7"):
        assert f'href="{address}"' in client.get(listing).text, listing
    back = {"do": "list-remove", "list": name, "back": address}
    assert client.post("/notes", data=of(own, 7) | back).headers["location"] == address


def test_a_list_has_an_order(store):
    for latent in (5, 6, 7, 5):
        store.write(change({"do": "list-add", "list": "l", "run": "r", "dictionary": "d", "latent": latent}))
    for latent, by in ((7, -1), (5, 9), (6, -9)):
        one = {"list": "l", "run": "r", "dictionary": "d", "latent": latent}
        store.write(change(one | {"do": "move", "by": by}))
    assert [item.latent for item in store.items("l")] == [6, 7, 5]
    store.write(change({"do": "remove-list", "name": "l", "version": store.lists()[0].version}))
    assert store.items("l") == [] == store.lists()


def test_of_two_who_write_at_once_nothing_is_lost(client, own):
    def write(number: int) -> int:
        one = of(own, number % 4) | {"do": "note", "text": f"number {number}"}
        added = client.post("/notes", json=of(own, 20 + number) | {"do": "list-add", "list": "both"})
        return max(added.status_code, client.post("/notes", json=one).status_code)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(24))) == {200}
    texts = {note.text for note in NoteStore(own.database).everything().notes}
    assert {f"number {number}" for number in range(24)} <= texts
    assert {item.latent for item in NoteStore(own.database).items("both")} == set(range(20, 44))


def test_a_case_study_holds_features_and_examples(client, own):
    id_ = client.post("/notes", json={"do": "study", "title": "Calls <b>", "text": "What closes"}).json()["id"]
    example = client.get("/runs/main/features/2.json").json()["examples"][0]["examples"][0]["position"]
    place = client.get(f"/runs/main/features/2/at/{example}").text
    assert f'value="{id_}"' in place and 'name="example"' in place
    for position, text in ((-1, ""), (example, "f(‹)›\n")):
        pin = {"do": "pin", "study": id_, "position": position, "example": text}
        assert client.post("/notes", json=of(own, 2) | pin).status_code == 200
    page = client.get(f"/studies/{id_}").text
    assert "Calls &lt;b&gt;" in page and "f(‹)›" in page and f"/features/2/at/{example}" in page
    assert 'id="digits"' in page and 'data-digit="9"' in page, "activations stand on the pinned example, as digits too"
    assert [pin["pin"]["position"] for pin in client.get(f"/studies/{id_}.json").json()["pins"]] == [-1, example]
    assert client.get("/studies/none").status_code == 404


def test_what_was_picked_stands_beside_as_many_drawn_by_a_seed(client, own, tmp_path):
    id_ = client.post("/notes", json={"do": "study", "title": "Picked", "text": ""}).json()["id"]
    for latent, position in ((2, -1), (5, -1), (5, 300), (9, -1)):
        pin = {"do": "pin", "study": id_, "position": position, "example": "x" if position >= 0 else ""}
        client.post("/notes", json=of(own, latent) | pin)
    first, again, other = (client.get(f"/studies/{id_}.json?seed={seed}").json() for seed in (4, 4, 5))
    ((run,), (same,), (others,)) = (one["beside"] for one in (first, again, other))
    assert [one["latent"] for one in run["picked"]] == [2, 5, 9] and len(run["drawn"]) == 3
    assert run["drawn"] == same["drawn"] != others["drawn"] and first["next_seed"] == 5
    assert run["drawn"][0].keys() == run["picked"][0].keys() and all(one["density"] > 0 for one in run["drawn"])
    page = client.get(f"/studies/{id_}?seed=4").text
    assert "drawn at random by seed 4" in page and f"/studies/{id_}?seed=5#beside-main" in page
    drawn = [one["latent"] for one in run["drawn"]]
    assert all(f'href="/runs/main/features/{latent}"' in page for latent in drawn)
    text = client.get(f"/studies/{id_}/export?seed=4").text
    assert [f"### Drawn main {latent}" in text for latent in drawn] == [True] * 3 and "- seed: 4" in text
    assert text.count("### Picked main ") == 3 and text.count("- score: ") == 6
    store = NoteStore(tmp_path / "other.sqlite")
    assert merge(store, from_markdown(text, "f")).conflicts == []
    found = store.everything()
    assert [one.latent for one in found.pins] == [2, 5, 5, 9] and found.labels == [], "only what somebody wrote"


def test_notes_of_a_replaced_dictionary_are_not_those_of_the_new_one(own, tmp_path):
    shutil.copytree(own.path, tmp_path / "w")
    copy = Workspace(tmp_path / "w")
    client = TestClient(create_app(copy), base_url="http://127.0.0.1", headers=OWN)
    client.post("/notes", json=of(copy, 9) | {"do": "label", "text": "of the old one"})
    client.post("/notes", json=of(copy, 9) | {"do": "list-add", "list": "olds"})
    shutil.rmtree(copy.run("main") / "index")
    shutil.copytree(copy.run("twin") / "index", copy.run("main") / "index")
    page = client.get("/runs/main/features/9").text
    assert "of the old one" not in page and "under an earlier dictionary" in page and kept(client, 9)["labels"] == []
    assert all(not run["is_now"] for run in client.get("/notes.json").json()["runs"] if run["run"] == "main")
    for shown in (client.get("/notes").text, client.get("/lists/olds").text):
        assert "of an earlier dictionary" in shown and 'href="/runs/main/features/9"' not in shown
    assert texts_of(copy, of(copy, 9)["dictionary"], "main") == {}


def test_what_was_answered_outlives_a_server_that_is_killed(own):
    """By SIGKILL, right behind the answer."""
    command = [sys.executable, "-m", "sparselex", "serve", str(own.path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        connection = http.client.HTTPConnection(line.split("http://")[1].split()[0])
        for number in range(3):
            body = json.dumps(of(own, 11) | {"do": "note", "text": f"killed behind {number}"})
            connection.request("POST", "/notes", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()
        os.kill(process.pid, signal.SIGKILL)
        connection.close()
    notes = NoteStore(own.database).of_feature(Feature(**of(own, 11))).notes
    assert {note.text for note in notes} == {f"killed behind {number}" for number in range(3)}


def test_a_damaged_or_locked_database_is_told(client, own, monkeypatch):
    from sparselex.base import database

    monkeypatch.setattr(database, "WAIT_S", 0.05)
    with NoteStore(own.database).database.writing():
        found = client.post("/notes", json=of(own, 12) | {"do": "star", "on": True})
    assert found.status_code == 503 and "locked" in found.json()["message"]
    with pytest.raises(UserError, match="do: Unable"):
        change({})


@pytest.mark.slow
def test_two_browsers_on_one_feature(browser, served):
    """By keyboard; each sees what the other wrote, and neither's words are lost."""
    tabs = [browser.new_context(color_scheme=scheme).new_page() for scheme in ("light", "dark")]
    complaints = []
    for tab in tabs:
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: complaints.append(said.text) if "409" not in said.text else None)
        tab.goto(f"{served}/runs/main/features/15")
    for tab, words in zip(tabs, ("mine", "yours"), strict=True):
        label = tab.locator("#notes input[name=text]")
        label.fill(words)
        label.press("Enter")
        tab.wait_for_selector("#notes input[name=version][value]:not([value='0']), .status.wrong", state="attached")
    second = tabs[1]
    assert "There stands now: “mine”" in second.locator(".status").inner_text()
    assert second.locator("#notes input[name=text]").input_value() == "yours", "the text is kept"
    second.locator("#notes input[name=text]").press("Enter")
    second.wait_for_selector("#notes input[name=text][value=yours]")
    second.locator("h1").click()
    second.keyboard.press("s")
    second.wait_for_selector("#star[aria-pressed=true]")
    second.locator("summary", has_text="Write a note").click()
    second.locator("details[open] textarea").press_sequentially("jks are typed")
    second.locator("details[open] button").click()
    second.wait_for_selector(".note .said")
    tabs[0].reload()
    assert tabs[0].locator("#star").get_attribute("aria-pressed") == "true"
    assert tabs[0].locator(".note .said").inner_text() == "jks are typed" and tabs[0].url == second.url
    assert complaints == []
    for tab in tabs:
        tab.context.close()


@pytest.mark.slow
def test_forms_work_without_javascript(browser, served):
    tab = browser.new_context(java_script_enabled=False).new_page()
    tab.goto(f"{served}/runs/main/features/16")
    tab.locator("#star").click()
    tab.locator("#notes input[name=list]").fill("by <hand>/ü%20")
    tab.locator("#notes button", has_text="Add").click()
    assert tab.locator("#star").get_attribute("aria-pressed") == "true"
    tab.locator(".in-list a").click()
    assert tab.locator("h1").inner_text() == "by <hand>/ü%20" and tab.locator("tbody tr").count() == 1
    tab.context.close()


WRITTEN = [
    {"do": "label", "run": "main", "dictionary": "d1", "latent": 17, "text": "yes"},
    {"do": "star", "run": "main", "dictionary": "d1", "latent": 3, "on": True},
    {
        "do": "note",
        "run": "a.b",
        "dictionary": "d2",
        "latent": 3,
        "id": "a" * 16,
        "text": "# h\n\n> q\n   in\n- x: y\n```",
    },
    {"do": "note", "run": "main", "dictionary": "d1", "latent": 17, "id": "b" * 16, "text": "שלום: ערך"},
    {"do": "list", "name": HOSTILE[2], "words": "two\nlines", "test_text": "  f(x)"},
    {"do": "list-add", "run": "main", "dictionary": "d1", "latent": 9, "list": HOSTILE[2]},
    {"do": "list-add", "run": "main", "dictionary": "d1", "latent": 2, "list": HOSTILE[2]},
    {"do": "comment", "run": "main", "dictionary": "d1", "latent": 2, "list": HOSTILE[2], "text": "- label: no"},
    {"do": "study", "id": "c" * 16, "title": "A: # b", "text": ""},
    {"do": "pin", "run": "main", "dictionary": "d1", "latent": 2, "study": "c" * 16},
    {
        "do": "pin",
        "run": "main",
        "dictionary": "d1",
        "latent": 2,
        "study": "c" * 16,
        "position": 5,
        "example": "x\n ‹y›",
    },
]


@pytest.fixture
def filled(store) -> NoteStore:
    for values in WRITTEN:
        store.write(change(values))
    return store


def test_a_file_comes_back_as_it_was_written_and_twice_is_once(filled, tmp_path):
    text, other = to_markdown(filled.everything()), NoteStore(tmp_path / "other.sqlite")
    assert "\n## Feature main 17\n\n- dictionary: d1\n" in text and "\n- test text:\n\n>   f(x)\n" in text
    done = merge(other, from_markdown(text, "f"))
    assert done.conflicts == [] and done.n_added >= len(WRITTEN) - 1
    assert to_markdown(other.everything()) == text
    again = merge(other, from_markdown(text, "f"))
    assert (again.n_added, again.conflicts) == (0, []) and to_markdown(other.everything()) == text


def test_two_peoples_files_are_merged_and_what_differs_is_told(filled, tmp_path):
    other = NoteStore(tmp_path / "other.sqlite")
    one = {"run": "main", "dictionary": "d1"}
    for values in (
        one | {"do": "label", "latent": 17, "text": "no"},
        one | {"do": "label", "latent": 18, "text": "mine alone"},
        one | {"do": "list-add", "latent": 4, "list": HOSTILE[2]},
    ):
        other.write(change(values))
    done = merge(other, from_markdown(to_markdown(filled.everything()), "f"))
    assert done.conflicts == ["Label of main 17: here “no”, in the file “yes”"]
    found = other.everything()
    assert {(one.latent, one.text) for one in found.labels} == {(17, "no"), (18, "mine alone")}
    assert [item.latent for item in found.items] == [4, 9, 2] and found.lists[0].words == "two\nlines"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# other\n",
        "# sparselex notes\n\n- format: 2\n",
        "# sparselex notes\n\n- format: 1\n\nloose words\n",
        "# sparselex notes\n\n- format: 1\n\n## Feature main\n",
        "# sparselex notes\n\n- format: 1\n\n## Feature main x\n\n- dictionary: d\n",
        "# sparselex notes\n\n- format: 1\n\n## Feature main 1\n\n- dictionary: d\n- colour: red\n",
        "# sparselex notes\n\n- format: 1\n\n### Note now " + "a" * 16 + "\n\n> x\n",
        "# sparselex notes\n\n- format: 1\n\n## List a/../b\n",
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(store, text):
    with pytest.raises(UserError, match="Line"):
        from_markdown(text, "f.md")


def test_a_file_by_the_page_and_by_the_command(client, own, tmp_path):
    text = client.get("/notes/export").text
    assert text.startswith("# sparselex notes\n")
    more = text + "\n## Feature main 30\n\n- dictionary: d9\n- label: from a file\n"
    sent = client.post("/notes/import", content=more, headers={"content-type": "text/markdown"})
    assert sent.status_code == 200 and sent.json()["summary"].startswith("1 taken up")
    form = client.post("/notes/import", data={"text": "nothing"}, headers={"accept": "text/html"})
    assert form.status_code == 400 and "Line 1 of the file" in form.text
    long = client.post("/notes/import", content=b"x" * 10_000_000, headers={"content-type": "text/markdown"})
    assert long.status_code == 413
    foreign = {"content-type": "text/markdown", "sec-fetch-site": "cross-site"}
    assert client.post("/notes/import", content=more, headers=foreign).status_code == 403
    file = tmp_path / "n.md"
    for _ in range(2):
        assert sparselex("notes", own.path, "--export", file).code == 0
    assert "- label: from a file" in file.read_text()
    assert sparselex("notes", own.path, "--import", file).out.startswith("0 taken up")
    (tmp_path / "mine.md").write_text("# mine")
    refused = [("--export", tmp_path / "mine.md"), ("--import", tmp_path / "none.md"), ("--import", tmp_path), ()]
    assert {sparselex("notes", own.path, *options).code for options in refused} == {2}
