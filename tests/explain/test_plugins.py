"""An explainer and a scorer of another package, those of docs/library.md: used by their names, without a change in
ours."""

import re
import sys
from pathlib import Path

import pytest

from sparselex.explain.config import ExplainConfig
from sparselex.explain.explain import explain
from sparselex.explain.explainers.rule import RuleExplainer
from sparselex.explain.registry import EXPLAINERS, SCORERS
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.explain.store import ExplanationStore
from sparselex.testing import check_explainer, check_scorer

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package `words`, as pip would leave it."""
    folder = tmp_path / "site-packages"
    metadata = folder / "words-1.0.dist-info"
    metadata.mkdir(parents=True)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    own = [block for block in blocks if "class TopToken:" in block or "class Named:" in block]
    (folder / "words.py").write_text("\n".join(re.split(r"\nsaid = |\nprint\(", block)[0] for block in own))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1.0\n")
    groups = "[sparselex.explainer]\ntop_token = words:TopToken\n[sparselex.scorer]\nnamed = words:Named\n"
    (metadata / "entry_points.txt").write_text(groups)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("words", None)


def test_they_explain_and_score_beside_ours(installed, small_index, tmp_path):
    database, inputs = tmp_path / "w.sqlite", {"index": small_index.id}
    explain(small_index, ExplainConfig(), database, tmp_path / "ours", inputs=inputs)
    config = ExplainConfig(explainer="top_token", scorers=("exact", "named"))
    found = explain(small_index, config, database, tmp_path / "theirs", inputs=inputs)
    figures = {figure.name: figure for figure in found.figures}
    assert found.n_explained > 100 and 0 < figures["explain/top_token/f1"].value < 1
    assert figures["explain/top_token/named/named"].value > (figures["explain/top_token/named/named"].null or 0)
    entries = ExplanationStore(database).entries(small_index.id)
    both = [said for said in entries.values() if len(said) == 2]
    assert both and all([entry.explainer for entry in said] == ["rule", "top_token"] for said in both)
    assert "top_token" in EXPLAINERS.names() and "named" in SCORERS.names()


def test_ours_keep_the_promises_too(small_index):
    said = check_explainer(RuleExplainer, small_index, name="rule")
    check_scorer(ExactScorer, small_index, said, name="exact")


class Forgetful(RuleExplainer):
    """Says something else each time."""

    n_asked = 0

    def explain(self, latent):
        self.n_asked += 1
        return super().explain(latent).model_copy(update={"text": f"{self.n_asked}"})


class Misplaced(ExactScorer):
    """Judges tokens that are not held out."""

    def score(self, explanation):
        scores, judgements = super().score(explanation)
        return type(super().score(explanation))(scores, [judgements[0].model_copy(update={"position": 1})])


def test_broken_promises_are_named(small_index):
    with pytest.raises(AssertionError, match="alike when asked again"):
        check_explainer(Forgetful, small_index, name="rule")
    with pytest.raises(AssertionError, match="names its latent and its explainer"):
        check_explainer(RuleExplainer, small_index, name="ruler")
    said = check_explainer(RuleExplainer, small_index, name="rule")
    with pytest.raises(AssertionError, match="counted test tokens"):
        check_scorer(Misplaced, small_index, said, name="exact")
    with pytest.raises(AssertionError, match="at least one explanation"):
        check_scorer(ExactScorer, small_index, [], name="exact")
