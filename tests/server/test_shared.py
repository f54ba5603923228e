"""A server for several people: for reading only, behind a proxy, over several workspaces."""

import re
import shutil
import socket
import threading
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.app import create_app, server_of
from sparselex.server.sharing import named
from tests.support.command import sparselex

OWN = {"sec-fetch-site": "same-origin"}
PAGES = ["/", "/runs/main/features", "/runs/main/features/3", "/about/main", "/notes", "/lists", "/nowhere"]


def opened(*workspaces, base_url="http://127.0.0.1", **options) -> TestClient:
    return TestClient(create_app(*workspaces, **options), base_url=base_url, follow_redirects=False, headers=OWN)


@pytest.fixture(scope="module")
def own(workspace, tmp_path_factory) -> Workspace:
    """A copy that is written to."""
    path = tmp_path_factory.mktemp("shared") / "a {b} ü"
    shutil.copytree(workspace.path, path)
    return Workspace(path)


STAR = {"do": "star", "run": "main", "dictionary": "d", "latent": 1, "on": True}


def test_for_reading_only_nothing_is_written_and_no_form_is_shown(own):
    writes = opened(own)
    writes.post("/notes", json={"do": "list", "name": "l"})
    client = opened(own, read_only=True)
    before = own.database.read_bytes()
    for sent in ({"json": STAR}, {"data": STAR}, {"content": b"x" * 10_000_000}):
        refused = client.post("/notes", **sent)
        assert refused.status_code == 403 and "reading only" in refused.json()["message"]
    assert client.post("/notes/import", content="# x", headers={"content-type": "text/markdown"}).status_code == 403
    assert own.database.read_bytes() == before
    for page in ("/runs/main/features/3", "/notes", "/lists", "/lists/l"):
        shown, written = client.get(page), writes.get(page)
        assert shown.status_code == 200 and 'method="post"' in written.text and 'method="post"' not in shown.text, page


@pytest.mark.parametrize("stripped", [True, False], ids=["stripped", "whole"])
@pytest.mark.parametrize("page", PAGES)
def test_behind_a_proxy_every_address_begins_with_its_path(own, page, stripped):
    client = opened(own, base_path="/lab/x/")
    shown = client.get(page if stripped else f"/lab/x{page}")
    assert shown.status_code == (404 if page == "/nowhere" else 200)
    found = dict.fromkeys(re.findall(r'(?:href|src|action|data-from)="(/[^"]*)"', shown.text))
    assert [address for address in found if not address.startswith("/lab/x/")] == []
    for address in list(found)[:8]:
        assert client.get(address).status_code in (200, 302) or page == "/nowhere", address


def test_behind_a_proxy_redirects_and_the_token_stay_beneath_its_path(own):
    client = opened(own, base_path="/lab", token="t0ken", names=["Lab.example:443"], base_url="https://lab.example")
    told = client.get("/lab/runs/main/features?token=t0ken&q=x")
    assert told.status_code == 303 and told.headers["location"] == "/lab/runs/main/features?q=x"
    assert "Path=/lab/" in told.headers["set-cookie"]
    assert client.get(told.headers["location"]).status_code == 200
    assert client.get("/lab/runs/main/features/random").headers["location"].startswith("/lab/runs/main/features/")
    form = {**STAR, "on": "false", "back": "/lists"}
    assert client.post("/lab/notes", data=form).headers["location"] == "/lab/lists"
    by_origin = {"sec-fetch-site": "same-origin", "origin": "https://lab.example"}
    assert client.post("/lab/notes", json=STAR | {"on": False}, headers=by_origin).status_code == 200
    assert client.get("/lab/", headers={"host": "evil.example"}).status_code == 421
    assert opened(own, base_path="/lab", token="t0ken").get("/lab/").status_code == 401


@pytest.mark.parametrize("base", ["lab", "/runs", "/static/x", "/w", "/a b", "/../x", "//x", "/x?y", "/notes/"])
def test_what_can_stand_in_front_of_no_address_is_refused(own, base):
    with pytest.raises(UserError, match="--base-path"):
        create_app(own, base_path=base)
    assert sparselex("serve", own.path, "--base-path", base).code == 2


def test_several_workspaces_stand_side_by_side(own, workspace):
    client = opened(own, workspace, workspace, base_path="/x", token="t")
    assert client.get("/x/w/workspace/").status_code == 401
    client.get("/x/?token=t")
    home = client.get("/x/")
    names = [one["address"] for one in client.get("/x/index.json").json()["workspaces"]]
    assert names == [f"/w/{quote(name)}/" for name in named([own, workspace, workspace])]
    assert [f'href="/x{name}"' in home.text for name in names] == [True] * 3 and "a {b} ü" in home.text
    for name in names:
        for page in PAGES:
            shown = client.get(f"/x{name}{page[1:]}")
            assert shown.status_code == (404 if page == "/nowhere" else 200), (name, page)
            for address in re.findall(r'(?:href|src|action|data-from)="(/[^"]*)"', shown.text):
                assert address == "/x/" or address.startswith(f"/x{name}"), address
    assert (
        client.get("/x/static/style.css").status_code == 200 and client.get("/x/runs/main/features").status_code == 404
    )
    assert client.get(f"/x{names[0]}", headers={"host": "evil.example"}).status_code == 421
    wrote = client.post(f"/x{names[0]}notes", json={"do": "list", "name": "of the first alone"})
    assert wrote.status_code == 200
    assert "of the first alone" in client.get(f"/x{names[0]}lists").text
    assert "of the first alone" not in client.get(f"/x{names[1]}lists").text
    assert client.post("/x/notes", json=STAR).status_code in (404, 405)


@pytest.mark.slow
def test_behind_a_path_in_a_real_browser(browser, own, workspace):
    """Two workspaces: no request that fails, no complaint, and a note is written."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(own, workspace, base_path="/lab", read_only=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    tab, complaints = browser.new_page(), []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
    tab.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/lab/")
    tab.get_by_role("link", name="a {b} ü").click()
    tab.goto(f"{tab.url}runs/main/features/5")
    tab.keyboard.press("s")
    tab.wait_for_selector("#star[aria-pressed=true]")
    tab.get_by_role("link", name="All workspaces").click()
    assert tab.locator("h1").inner_text() == "Workspaces" and complaints == []
    tab.close()
    server.should_exit = True
    thread.join()
