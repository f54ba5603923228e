"""Our own dictionaries, as they lie in a run of any workspace: every type comes over as it is."""

from sparselex.base.artifacts import MANIFEST, open_artifact
from sparselex.convert.formats import Files, Format, Found
from sparselex.dictionaries.files import CONFIG, WEIGHTS, load_dictionary


def read_own(files: Files) -> Found:
    """A finished dictionary with the place that its manifest names. Raises `UserError` that names the file at fault."""
    places = open_artifact(files.folder, "dictionary").inputs
    found = Found(load_dictionary(files.folder), is_folded=True)
    return found.at(places.get("hook", ""), places.get("target", ""))


SPARSELEX = Format((MANIFEST, CONFIG, WEIGHTS), read_own)
