"""A served workspace and a real browser."""

import shutil
import socket
import threading

import pytest
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.evaluate.report import write_report
from sparselex.server.app import create_app, server_of

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def workspace(small_workspace, tmp_path_factory) -> Workspace:
    """A copy of the small workspace with its report. Read only."""
    path = tmp_path_factory.mktemp("served") / "workspace"
    shutil.copytree(small_workspace.path, path)
    copy = Workspace(path)
    write_report(copy)
    return copy


@pytest.fixture(scope="session")
def client(workspace) -> TestClient:
    return TestClient(create_app(workspace), base_url="http://127.0.0.1")


@pytest.fixture(scope="session")
def address(workspace):
    """A real server on a free local port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(workspace))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian package `chromium`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()
