"""What was found of concepts in a run, read: of the shipped ones, and of those that a person has looked for."""

from pathlib import Path

from sparselex.atlas.proxies.records import FILE, FOUND, FOUND_FILE, KIND, ConceptFound, ProxiesFound
from sparselex.base.artifacts import MANIFEST, read_manifest, record_of


def proxies_in(run: Path, index: str) -> ProxiesFound | None:
    """What was found of the shipped concepts in the folder of a run; None where nothing was, or in another index than
    that of this id."""
    return record_of(ProxiesFound, run / KIND, FILE) if _is_of(run / KIND, index) else None


def looked_for(run: Path, index: str) -> list[str]:
    """Names of the concepts that a person has looked for in that index, by name."""
    paths = sorted((run / FOUND).glob(f"*/{MANIFEST}"))
    return [path.parent.name for path in paths if _is_of(path.parent, index)]


def concept_in(run: Path, index: str, name: str) -> ConceptFound | None:
    """What was found of one concept: of one that a person has looked for, else of a shipped one; None where nothing
    was."""
    if name in looked_for(run, index):
        return record_of(ConceptFound, run / FOUND / name, FOUND_FILE)
    found = proxies_in(run, index)
    return next((one for one in found.concepts if one.name == name), None) if found else None


def _is_of(folder: Path, index: str) -> bool:
    return (folder / MANIFEST).is_file() and read_manifest(folder).inputs.get("index") == index
