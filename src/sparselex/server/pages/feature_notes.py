"""`/runs/<run>/features/<latent>/notes`: what people wrote of one feature."""

from typing import Any

from sparselex.server.notes.records import Feature, Notebook
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent


class FeatureNotesPage(PageRecord):
    """`/runs/<run>/features/<latent>/notes`: what people wrote of one feature. Stands on the feature's own page too."""

    feature: Feature
    """The feature, with the id of the dictionary that the run has now."""

    notes: Notebook
    """All that is said of it; all lists and case studies there are, of which `items` and `pins` say where it is."""

    n_earlier: int
    """Notes, labels and stars of the same number under earlier dictionaries of the run."""


def feature_notes(opened: OpenWorkspace, run: str, latent: Latent) -> FeatureNotesPage:
    """What people wrote of one feature. Raises `NoSuchPage` for a number that is no latent of the run."""
    checked_latent(opened.index(run), run, latent)
    feature = Feature(run=run, dictionary=opened.dictionary_id(run), latent=latent)
    return FeatureNotesPage(
        title=f"{run} / {latent}: notes",
        feature=feature,
        notes=opened.notes.of_feature(feature),
        n_earlier=opened.notes.n_elsewhere(feature),
    )


PAGE = Page(path="/runs/{run}/features/{latent}/notes", build=feature_notes, template=TEMPLATES / "feature_notes.html")


def noted_of(opened: OpenWorkspace, page: Any) -> FeatureNotesPage:
    """What people wrote of the feature of any page of one, which has a `run` (its card) and a `latent`."""
    return page if isinstance(page, FeatureNotesPage) else feature_notes(opened, page.run.name, page.latent)
