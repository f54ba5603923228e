"""The door of the command line: every way to end is a message, and nothing from outside reaches the terminal raw."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sparselex.base.artifacts import read_manifest
from sparselex.base.errors import UserError
from sparselex.base.formats import plain
from sparselex.base.release import own_version
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.recipes.demo import Demo
from sparselex.recipes.stages import STAGES
from sparselex.training.config import TrainConfig
from tests.support.command import sparselex

ESCAPES = "\x1b]0;owned\x07\x1b[2J[bold]x[/nonsense]\u202e"


@pytest.fixture
def failing(monkeypatch):
    """A verb that fails as told."""

    def fail_with(error):
        def model(config):
            raise error

        monkeypatch.setattr("sparselex.lm.load.load_model", model)
        return sparselex("hooks", "embedded")

    return fail_with


def test_a_fault_of_ours_says_so_and_how_to_report_it(failing):
    ended = failing(ZeroDivisionError("division by zero"))
    assert ended.code == 1 and "This is a fault in sparselex (hooks.py, line " in ended.err
    assert "ZeroDivisionError: division by zero" in ended.err and "report it" in ended.err
    assert "Traceback" not in ended.err


def test_out_of_a_checkout_that_is_not_installed_it_knows_its_version(tmp_path):
    code = (
        "import importlib.metadata as metadata\n"
        "installed = metadata.version\n"
        "def version(name):\n"
        "    if name == 'sparselex': raise metadata.PackageNotFoundError(name)\n"
        "    return installed(name)\n"
        "metadata.version = version\n"
        "import sparselex.evaluate.report, sparselex.explain.store, sparselex.recipes.pushing\n"
        "from sparselex.cli.main import main; main(['--version'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"sparselex {own_version()}\n", "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_what_a_disk_refuses_is_no_fault_of_ours(failing, number):
    ended = failing(OSError(number, os.strerror(number), "/some/file"))
    assert ended.code == 2 and f"/some/file failed: {os.strerror(number)}." in ended.err and "to do:" in ended.err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7.28 TiB for an array"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2048 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    ],
)
def test_memory_that_ran_out_is_no_fault_of_ours(failing, error):
    ended = failing(error)
    assert ended.code == 2 and "Memory ran out" in ended.err and "to do: lower" in ended.err


def test_what_a_terminal_would_obey_is_written_out(failing):
    ended = failing(ZeroDivisionError(ESCAPES))
    assert "\x1b" not in ended.err and "\\x1b]0;owned\\x07" in ended.err and "\\u202e" in ended.err
    assert plain("a\tb\n·é🤷") == "a\tb\n·é🤷"


def test_tables_show_names_as_they_are(capsys):
    table = WideTable(ESCAPES, ("latent", ESCAPES))
    table.add_row("[red]1", ESCAPES)
    console_of().print(table)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[red]1" in shown and "[bold]x[/nonsense]" in shown and "\u202e" not in shown


def test_a_mistake_with_escapes_in_it(tmp_path):
    ended = sparselex("report", tmp_path / ESCAPES.replace("/", ""))
    assert ended.code == 2 and "\x1b" not in ended.err


NUMBERS = [
    (kind, name)
    for kind in (*(stage for _, stage in STAGES.items()), Demo, TrainConfig)
    for name, field in kind.model_fields.items()
    if re.search(r"\b(int|float)\b", str(field.annotation)) and name not in ("clip", "options")
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e999", str(2**63)])
def test_a_number_that_no_machine_holds_is_refused(kind, name, value):
    if value == str(2**63) and name in ("l1", "l1s", "lr", "auxk_alpha"):  # a weight may be large
        return
    repeated = "tuple" in str(kind.model_fields[name].annotation)
    with pytest.raises(UserError, match=rf"{name}(\.0)?: Input should"):
        kind.parse({name: [value] if repeated else value}, names={})


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5_000, '{"a":' * 100_000])
def test_an_option_that_is_json_without_end(tmp_path, value):
    for verb in ("train", "explain", "sweep"):
        ended = sparselex(verb, tmp_path, "--option", f"x={value}")
        assert ended.code == 2 and "no sparselex workspace" in ended.err


def test_a_configuration_that_is_no_file_or_no_json(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in (tmp_path / "pipe", "/dev/zero", tmp_path / "a\0b", tmp_path / "deep.json", tmp_path):
        ended = sparselex("train", tmp_path, "--config", name)
        assert ended.code == 2 and ended.err.startswith("error: The file") and "to do:" in ended.err


@pytest.mark.parametrize("leads_to", ["nowhere", "w"])
def test_a_workspace_that_is_a_link_to_nothing(tmp_path, leads_to):
    (tmp_path / "w").symlink_to(leads_to)
    for verb in ("harvest", "demo", "report"):
        ended = sparselex(verb, tmp_path / "w")
        assert ended.code == 2 and "no sparselex workspace" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("device", ["meta", "cuda:99", "mps", "nonsense"])
def test_a_device_that_is_not_there_is_refused_in_a_configuration(small_workspace, tmp_path, device):
    config = read_manifest(small_workspace.run("main") / "dictionary").config
    (tmp_path / "config.json").write_text(json.dumps(config | {"device": device}))
    copy = shutil.copytree(small_workspace.path, tmp_path / "w")
    ended = sparselex("train", copy, "--config", tmp_path / "config.json", "--replace")
    assert ended.code == 2 and f"The device {device!r} cannot be used" in ended.err


@pytest.mark.slow
def test_streams_that_know_little(tmp_path):
    code = "import sys; from sparselex.cli.main import main; main(sys.argv[1:])"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    ended = subprocess.run(
        [sys.executable, "-c", code, "report", str(tmp_path / "é")], env=environment, capture_output=True
    )
    assert ended.returncode == 2 and b"Traceback" not in ended.stderr and b"\\xe9" in ended.stderr


@pytest.mark.slow
def test_a_reader_that_has_read_enough(tmp_path):
    code = "import sys; from sparselex.cli.main import main; main(sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", code, "hooks", "embedded"], stdout=-1, stderr=-1) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait() == 141


@pytest.mark.slow
def test_a_check_that_nobody_reads_to_its_end(small_workspace):
    for verb in ("check", "report"):
        command = [sys.executable, "-m", "sparselex", verb, str(small_workspace.path)]
        with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
            process.stdout.close()
            assert process.stderr.read() == b"" and process.wait() == 141


INTERRUPTED = """
import sys

class Interrupted:
    def find_spec(self, name, *more):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
import sparselex.__main__
"""


@pytest.mark.slow
def test_an_interrupt_before_there_is_a_door():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, check=False)
    assert ended.returncode == 130 and ended.stderr == b""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--context", "1"], "--context: Input should be greater than or equal to 2"),
        (["--splits", "none"], "--splits: Tuple should have at least 1 item"),
        (["--splits", "train,train"], "--splits: each split is read once"),
        (["--twin-of", "main"], "Run 'main' was to be a twin of itself"),
        (["--twin-of", "../x"], "--twin-of: String should match pattern"),
        (["--twin-of", "\x1b[2J"], "--twin-of: String should match pattern"),
    ],
)
def test_a_run_that_cannot_be_begun(tmp_path, options, words):
    ended = sparselex("harvest", tmp_path / "w", *options)
    assert ended.code == 2 and words in ended.err and not (tmp_path / "w").exists()


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", b"\xff\xfe", "it is UTF-16"),  # at the first document
        ("a.jsonl", b'{"text": "a word"}\n', "None of the 1 documents fell into"),  # at the last
        ("a.jsonl", b'{"text": "a word"}\n' * 200 + b"{\n" * 300, "So it is with 201 of 401"),
    ],
)
def test_a_text_that_is_refused_leaves_nothing_behind(tmp_path, there, name, text, words):
    """Neither a workspace nor the folders that it was to lie in, nor half a corpus; an empty folder stays empty."""
    (tmp_path / name).write_bytes(text)
    if there:
        (tmp_path / "deep/w").mkdir(parents=True)
    ended = sparselex("harvest", tmp_path / "deep/w", "--text", tmp_path / name)
    assert ended.code == 2 and words in ended.err
    before = {tmp_path / "deep", tmp_path / "deep/w"} if there else set()
    assert {*tmp_path.rglob("*")} == before | {tmp_path / name}


def test_dashboards_that_are_none_leave_no_workspace(tmp_path):
    ended = sparselex("dashboards", tmp_path / "w", tmp_path)
    assert ended.code == 2 and "holds no dashboards" in ended.err and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["kind", "expansion", "seed"])
def test_a_sweep_of_nothing(small_workspace, name):
    ended = sparselex("sweep", small_workspace.path, f"--{name}", "none")
    assert ended.code == 2 and f"--{name}: Tuple should have at least 1 item" in ended.err


READ_ONLY = """
import os, sys
from sparselex.cli.main import main
from sparselex.base.workspace import Workspace
from sparselex.server.app import create_app
from starlette.testclient import TestClient

def ended(*arguments):
    try:
        main(list(arguments))
    except SystemExit as ended:
        return ended.code or 0
    return 0

def look(path):
    assert ended("report", path) == 0
    client = TestClient(create_app(Workspace(path)), base_url="http://127.0.0.1")
    return [client.get(page).status_code for page in ("/", "/runs/main/features", "/runs/main/features/1")]

sys.stdout.flush()
assert look(sys.argv[1]) == [200] * 3
ended("evaluate", sys.argv[1], "--n-rows", "4")  # now everything is imported: another user may not read the modules
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    open(sys.argv[2] + "/x", "w")
except OSError:
    pass
else:
    sys.exit("it can be written to")
assert look(sys.argv[2]) == [200] * 3
code = ended("evaluate", sys.argv[2], "--n-rows", "5")
sys.exit(0 if code == 2 else f"it ended with {code}")
"""


@pytest.mark.slow
def test_a_workspace_that_can_only_be_read(small_workspace):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # another user's way in
        ours, theirs = (shutil.copytree(small_workspace.path, Path(folder) / name) for name in ("ours", "theirs"))
        for path in [theirs, *theirs.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        ended = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(ours), str(theirs)], capture_output=True, text=True, check=False
        )
        for path in [theirs, *theirs.rglob("*")]:
            path.chmod(0o755)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert "report.json was not written: Permission denied." in ended.stderr and "Traceback" not in ended.stderr
