"""The case studies of the documentation are files that any workspace takes up, each beside a random sample."""

from pathlib import Path

import pytest

from sparselex.base.workspace import Workspace
from sparselex.server.notes.markdown import from_markdown
from sparselex.server.notes.store import NoteStore
from tests.support.command import done

DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
"""How active the latent is on what stands before, of ten."""

FILES = sorted((Path(__file__).parent.parent / "docs" / "case-studies").glob("*.md"))


def test_there_are_five_and_the_page_lists_them():
    page = (Path(__file__).parent.parent / "docs" / "case-studies.md").read_text(encoding="utf-8")
    assert len(FILES) == 5 and all(f"case-studies/{path.name}" in page for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_study_has_full_texts_with_digits_and_a_random_sample(path):
    text = path.read_text(encoding="utf-8")
    found = from_markdown(text, path.name)
    (study,) = found.studies
    examples = [pin for pin in found.pins if pin.example]
    assert len(study.text) > 500 and len(examples) >= 3 and all(set(pin.example) & set(DIGITS) for pin in examples)
    picked = {(pin.run, pin.latent) for pin in found.pins}
    assert text.count("\n### Drawn ") == len(picked) == text.count("\n### Picked ")


def test_all_are_taken_up_by_a_new_workspace(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    for path in FILES:
        done("notes", workspace.path, "--import", path)
    store = NoteStore(workspace.database)
    assert len(store.studies()) == len(FILES)
    out = tmp_path / "out.md"
    done("notes", workspace.path, "--export", out)
    again = from_markdown(out.read_text(encoding="utf-8"), "out.md")
    assert sorted(one.title for one in again.studies) == sorted(one.title for one in store.studies())
    assert len(again.pins) == sum(len(from_markdown(path.read_text(encoding="utf-8"), "").pins) for path in FILES)
