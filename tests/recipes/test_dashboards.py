"""Features in the layouts of SAEDashboard and Neuronpedia: keys, types and order as the projects' own files have them,
numbers as the index has them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.base.files import check_room
from sparselex.base.vocabulary import Vocabulary
from sparselex.features.rows import RowTexts
from sparselex.recipes.run import Run

NUMBER, TEXT, WHOLE, LIST = (int, float), str, int, list
BATCH = {"model_id": TEXT, "layer": WHOLE, "sae_set": TEXT, "features": LIST}
FEATURE = {
    "feature_index": WHOLE,
    **{f"neuron_alignment_{name}": [NUMBER] for name in ("indices", "values", "l1")},
    **{f"correlated_neurons_{name}": [NUMBER] for name in ("indices", "l1", "pearson")},
    **{f"correlated_features_{name}": [NUMBER] for name in ("indices", "l1", "pearson")},
    "neg_str": [TEXT],
    "neg_values": [NUMBER],
    "pos_str": [TEXT],
    "pos_values": [NUMBER],
    "frac_nonzero": NUMBER,
    "freq_hist_data_bar_values": [NUMBER],
    "freq_hist_data_bar_heights": [WHOLE],
    "logits_hist_data_bar_heights": [WHOLE],
    "logits_hist_data_bar_values": [NUMBER],
    "n_prompts_total": WHOLE,
    "n_tokens_in_prompt": WHOLE,
    "dataset": TEXT,
    "decoder_weights_dist": [NUMBER],
    "activations": LIST,
}
ACTIVATION = {
    "bin_min": NUMBER,
    "bin_max": NUMBER,
    "bin_contains": NUMBER,
    "tokens": [TEXT],
    "values": [NUMBER],
    "qualifying_token_index": WHOLE,
    "dfa_values": [NUMBER],
    "dfa_maxValue": NUMBER,
    "dfa_targetIndex": WHOLE,
}
"""The keys of a batch file in their order, with the types of their values, as two real files have them."""

NEURONPEDIA = {
    "features": "modelId layer index creatorId createdAt maxActApprox hasVector vector vectorLabel "
    "vectorDefaultSteerStrength hookName topkCosSimIndices topkCosSimValues sourceSetName "
    + " ".join(name for name in FEATURE if name not in ("feature_index", "activations")),
    "activations": "id tokens index layer modelId maxValue maxValueTokenIndex minValue values creatorId dataSource "
    "dataIndex dfaValues dfaTargetIndex dfaMaxValue createdAt lossValues logitContributions binMin binMax binContains "
    "qualifyingTokenIndex",
    "explanations": "id modelId layer index description authorId triggeredByUserId notes typeName explanationModelName "
    "scoreV1 scoreV2 umap_x umap_y umap_cluster umap_log_feature_sparsity createdAt updatedAt",
    "model": "id instruct creatorId displayNameShort displayName tlensId dimension visibility defaultSourceSetName "
    "defaultSourceId inferenceEnabled layers neuronsPerLayer createdAt owner updatedAt website",
    "release": "name description descriptionShort creatorName creatorNameShort creatorId creatorEmail visibility "
    "isNewUi featured urls defaultSourceSetName defaultSourceId defaultUmapSourceIds createdAt",
    "sourceset": "modelId name creatorId hasDashboards visibility description type creatorName urls creatorEmail "
    "releaseName defaultOfModelId defaultRange defaultShowBreaks showDfa showCorrelated showHeadAttribution showUmap "
    "createdAt",
    "source": "id modelId setName creatorId hasDashboards inferenceEnabled inferenceHosts saelensConfig "
    "saelensRelease saelensSaeId hfRepoId hfFolderId visibility defaultOfModelId hasUmap hasUmapLogSparsity "
    "hasUmapClusters num_prompts num_tokens_in_prompt dataset notes createdAt",
}
"""The keys of each kind of row."""


def misfits(found: dict, wanted: dict, *, also: tuple[str, ...] = ()) -> list[str]:
    """Keys that are missing, unknown, in another place or of another type."""
    own = [name for name in found if name not in also]
    wrong = [] if own == list(wanted) else [f"keys {own}"]
    for name, kind in wanted.items():
        items = found[name] if isinstance(kind, list) else [found[name]]
        of = kind[0] if isinstance(kind, list) else kind
        if not all(isinstance(item, of) for item in items):
            wrong.append(f"{name}: {found[name]}")
    return wrong


def batch_misfits(batch: dict) -> list[str]:
    wrong = misfits(batch, BATCH, also=("sae_id_suffix",))
    for feature in batch["features"]:
        wrong += misfits(feature, FEATURE)
        wrong += [fault for one in feature["activations"] for fault in misfits(one, ACTIVATION)]
    return wrong


@pytest.fixture(scope="module")
def run(small_workspace) -> Run:
    return Run.open(small_workspace)


@pytest.fixture(scope="module")
def batches(run, tmp_path_factory) -> Path:
    to = tmp_path_factory.mktemp("out") / "saedashboard"
    run.do("export", to=to, layout="saedashboard")
    return to


@pytest.fixture(scope="module")
def features(batches) -> list[dict]:
    paths = sorted(batches.glob("batch-*.json"), key=lambda path: int(path.stem[6:]))
    return [one for path in paths for one in json.loads(path.read_text(encoding="utf-8"))["features"]]


def test_real_files_and_ours_have_the_same_keys_and_types(shared_data, batches):
    for path in [*(shared_data / "dashboards").glob("*batch*.json"), *batches.glob("batch-*.json")]:
        assert batch_misfits(json.loads(path.read_text(encoding="utf-8"))) == [], path


def test_every_feature_is_there_with_the_numbers_of_the_index(run, batches, features):
    index = run.index
    assert [one["feature_index"] for one in features] == list(range(index.d_sae))
    assert all(batch_misfits(json.loads(path.read_text("utf-8"))) == [] for path in batches.glob("batch-*.json"))
    assert [one["frac_nonzero"] for one in features] == index.table["density"].tolist(), "to the last digit"
    for one in features[:40]:
        latent = one["feature_index"]
        counts, centres = one["freq_hist_data_bar_heights"], one["freq_hist_data_bar_values"]
        assert sum(counts) == index.table["n_active"][latent] and len(counts) == len(centres)
        assert sum(one["logits_hist_data_bar_heights"]) == len(index.corpus.vocabulary)
        row = run.dictionary.W_dec[latent].detach().numpy()
        assert one["neuron_alignment_indices"] == np.argsort(-row)[:3].tolist()
        assert one["pos_str"] == [index.corpus.vocabulary.text(e.token) for e in index.record(latent).logits_top[:10]]


def test_examples_lack_the_bos_and_stand_in_groups(run, features):
    """The largest first, marked by -1; then ranges, the largest first; the index points at the activation."""
    index, n_ctx = run.index, run.index.corpus.n_ctx
    alive = next(one for one in features if len(one["activations"]) > 20)
    record = index.record(alive["feature_index"])
    examples, n_top = alive["activations"], len(record.top)
    assert {(one["bin_min"], one["bin_contains"]) for one in examples[:n_top]} == {(-1, -1)}
    assert all(one["bin_min"] >= 0 < one["bin_contains"] for one in examples[n_top:])
    lows = [one["bin_min"] for one in examples[n_top:]]
    assert lows == sorted(lows, reverse=True)
    for one, example in zip(examples, record.top, strict=False):
        row, column = divmod(example.position, n_ctx)
        assert one["qualifying_token_index"] == column - 1 and len(one["tokens"]) == len(one["values"]) <= n_ctx - 1
        assert one["values"][column - 1] == pytest.approx(example.value, rel=1e-5)
        assert "".join(one["tokens"]) == index.corpus.vocabulary.decode(index.corpus.tokens[row])
        positions = index.column(record.latent)[0]
        assert np.count_nonzero(one["values"]) == np.count_nonzero(positions // n_ctx == row)
    shares = {one["bin_contains"] for one in examples[n_top:]}
    assert sum(shares) <= index.table["train_n_active"][record.latent] / index.n_tokens["train"] + 1e-9


def test_neuronpedia_has_its_rows(run, tmp_path):
    run.do("export", to=tmp_path / "np", layout="neuronpedia", latents=[5, 3], set_name="mine", creator="somebody")
    home = tmp_path / "np" / "embedded" / "0-mine"
    rows = {name: [json.loads((home / f"{name}.jsonl").read_text("utf-8"))] for name in list(NEURONPEDIA)[3:]}
    for part in ("features", "activations", "explanations"):
        with gzip.open(home / part / "batch-0.jsonl.gz", "rt", encoding="utf-8") as file:
            rows[part] = [json.loads(line) for line in file]
    for name, keys in NEURONPEDIA.items():
        assert all(set(row) == set(keys.split()) for row in rows[name]), name
    assert [row["index"] for row in rows["features"]] == ["5", "3"], "text, in the order asked for"
    index = run.index
    assert [row["maxActApprox"] for row in rows["features"]] == pytest.approx(abs(index.table["max"][[5, 3]]), rel=1e-5)
    ids = [row["id"] for row in rows["activations"]]
    assert len(set(ids)) == len(ids) and {(len(one), one[0]) for one in ids} == {(25, "c")}
    for row in rows["activations"]:
        assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"]
        assert (row["layer"], row["modelId"], row["creatorId"]) == ("0-mine", "embedded", "somebody")
    assert all("null" in row["notes"] and row["typeName"] == "rule" for row in rows["explanations"])
    assert str(run.workspace.path) not in json.dumps(rows), "nothing of this machine"
    again = tmp_path / "again"
    run.do("export", to=again, layout="neuronpedia", latents=[5, 3], set_name="mine", creator="somebody")
    assert all(
        path.read_bytes() == (again / path.relative_to(tmp_path / "np")).read_bytes() for path in home.rglob("*.gz")
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "saedashboard", "latents": [10**6]}, "There is no latent 1000000"),
        ({"layout": "saelens", "latents": [1]}, "--latent changes nothing"),
        ({"layout": "saedashboard", "creator": "me"}, "--creator changes nothing"),
        ({"layout": "neuronpedia", "set_name": "../up"}, "set_name"),
        ({"layout": "saedashbord"}, "did you mean saedashboard"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(options, words, run, tmp_path):
    with pytest.raises(UserError, match=words):
        run.do("export", to=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_it_is_full(tmp_path):
    with pytest.raises(UserError, match="MB are free"):
        check_room(tmp_path, 1e18)


class _Rows:
    """A corpus of one row."""

    id, names, n_rows = "", ["one"], 1

    def __init__(self, pieces: list[bytes], tokens: list[int], bos_id: int | None, special: tuple[int, ...]):
        self.vocabulary, self.bos_id = Vocabulary(pieces, special), bos_id
        self.tokens = np.array([tokens])
        self.documents = np.array([[-1 if token in special else 0 for token in tokens]])
        self.n_ctx, self.row_ranges, self.n_padding = len(tokens), {"train": range(1)}, {"train": 0}

    def text_mask(self, rows):
        return self.documents[rows] >= 0

    def roles(self, row):
        return {}


def test_a_character_of_several_tokens_stands_at_the_last_of_them():
    pieces = [b"<s>", b"don", b" \xe2\x80", b"\x99", b"t", b"\xf0\x9f", b"<pad>"]
    rows = RowTexts(_Rows(pieces, [0, 1, 2, 3, 4, 5, 0, 1, 6, 6], 0, (0, 6)))
    assert rows.of(0) == ["don", " ", "’", "t", "\\xf0\\x9f", "<s>", "don"]
    assert RowTexts(_Rows(pieces, [1, 2], None, (0, 6))).of(0) == ["don", " \\xe2\\x80"]
