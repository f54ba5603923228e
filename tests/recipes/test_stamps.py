"""Stamps: whether a model's files are what they were, told without reading them."""

import os

from sparselex.recipes.stamps import model_stamp


def test_a_models_stamp_follows_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = model_stamp(str(tmp_path))
    assert model_stamp(str(tmp_path)) == before
    os.utime(tmp_path / "config.json", ns=(1, 1))
    assert model_stamp(str(tmp_path)) != before


def test_a_link_that_leads_nowhere_is_no_file_of_a_model(tmp_path):
    """Such are left behind where a cache was cleared."""
    (tmp_path / "config.json").write_text("{}")
    before = model_stamp(str(tmp_path))
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / "gone")
    assert model_stamp(str(tmp_path)) == before
