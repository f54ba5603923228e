"""`serve`: the address it prints answers at once; what cannot be served is refused in words."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.app import serve

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_is_found_and_printed(workspace, host):
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    code = (
        "import sys; from sparselex.base.workspace import Workspace; from sparselex.server.app import serve;"
        "serve(Workspace(sys.argv[1]), host=sys.argv[2], port=0)"
    )
    command = [sys.executable, "-c", code, str(workspace.path), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if "http://" in line)
            url = line.split(" at ")[1].split()[0]
            with urllib.request.urlopen(f"{url}/index.json", timeout=10) as answer:
                assert json.load(answer)["workspace"] == "workspace"
        finally:
            process.terminate()


def test_other_machines_need_the_token_that_is_printed(workspace):
    command = [sys.executable, "-m", "sparselex", "serve", str(workspace.path), "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if "http://" in line)
            address, token = line.split(" at ")[1].split()[0].split("/?token=")
            address = address.replace("0.0.0.0", "127.0.0.1")
            assert len(token) >= 32
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{address}/index.json", timeout=10)
            assert refused.value.code == 401
            refused.value.close()
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with browser.open(f"{address}/index.json?token={token}", timeout=10) as answer:
                assert json.load(answer)["workspace"] == "workspace" and "token" not in answer.url
            with browser.open(f"{address}/index.json", timeout=10) as answer:
                assert answer.status == 200
        finally:
            process.terminate()


def test_a_busy_port_is_refused(workspace):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(UserError) as caught:
            serve(workspace, port=port)
    assert f"Port {port}" in caught.value.given and "--port 0" in caught.value.todo


@pytest.mark.parametrize("host", ["", "é..x", "a\0b", "no.such.host.invalid"])
def test_what_is_no_host_is_refused(workspace, host):
    with pytest.raises(UserError, match=r"Port 0 on .* cannot be used: \S"):
        serve(workspace, host=host, port=0)


def test_a_folder_that_is_no_workspace_is_refused(tmp_path):
    with pytest.raises(UserError) as caught:
        Workspace(tmp_path)
    assert "no sparselex workspace" in caught.value.given


def test_the_server_never_imports_torch():
    code = "import sys, sparselex.server.app; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
