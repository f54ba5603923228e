"""All that is written as one Markdown file, which a person can read and git can compare, and back.

Every heading says what it is of: `## Feature RUN LATENT`, `### Note TIME ID`, `## List NAME`, `### Item RUN LATENT`,
`## Case study TIME ID`, `### Pin RUN LATENT`. The order depends on nothing but what is written. What stands beside a
case study, `### Picked RUN LATENT` and `### Drawn RUN LATENT`, is there to be read: it can be made again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparselex.base.errors import UserError, a
from sparselex.server.notes.blocks import BODY, YES, Block, read, written
from sparselex.server.notes.records import NO_POSITION, Feature, Item, Label, Listed, Note, Notebook, Pin, Study

FORMAT = "1"
FIRST = "sparselex notes"
"""Heading by which the file is known."""

BESIDE = {BODY, "dictionary", "seed", "score", "null", "active on"}
"""What is said of a feature that stands beside a case study."""

_FIELDS = {
    "Feature": {"dictionary", "label", "star"},
    "Note": {BODY},
    "List": {BODY, "test text"},
    "Item": {BODY, "dictionary"},
    "Case study": {BODY, "title"},
    "Pin": {"dictionary", "position", "example"},
    "Picked": BESIDE,
    "Drawn": BESIDE,
}
"""What may stand under each heading."""

_INSIDE = {"Note": "Feature", "Item": "List", "Pin": "Case study", "Picked": "Case study", "Drawn": "Case study"}
"""What stands under the heading of what."""


def to_markdown(notes: Notebook, beside: Mapping[str, Sequence[Block]] | None = None) -> str:
    """The file; `beside` is what stands beside case studies, by their ids."""
    studies = _studies(notes, beside or {})
    return written([Block(1, FIRST, {"format": FORMAT}), *_features(notes), *_lists(notes), *studies])


def from_markdown(text: str, name: str) -> Notebook:
    """What a file says. Raises `UserError` that names the line where it is not such a file: nothing in it is passed
    over."""
    first, *blocks = read(text, name) or [Block(1, "", {})]
    if first.heading != FIRST or first.values != {"format": FORMAT}:
        raise _wrong(name, first, f"a file that begins with the heading # {FIRST} and - format: {FORMAT}")
    found: dict[str, list[Any]] = {field: [] for field in Notebook.model_fields}
    above: dict[str, Any] = {}
    for block in blocks:
        kind, words = _kind(name, block)
        if kind in _INSIDE and _INSIDE[kind] not in above:
            raise _wrong(name, block, f"a heading of {a(_INSIDE[kind].lower())} before it")
        try:
            _add(found, above, kind, words, block.values)
        except (UserError, ValueError) as error:
            told = error.given if isinstance(error, UserError) else "its heading or its lines are not complete"
            raise _wrong(name, block, f"what a heading of its kind has ({told})") from None
    return Notebook(**found)


def _features(notes: Notebook) -> Iterator[Block]:
    labels, starred = {one.key: one.text for one in notes.labels}, {one.key for one in notes.stars}
    keys = sorted({one.key for one in (*notes.labels, *notes.stars, *notes.notes)})
    for run, dictionary, latent in keys:
        key = (run, dictionary, latent)
        said = {"label": labels[key]} if key in labels else {}
        yield Block(
            2,
            f"Feature {run} {latent}",
            {"dictionary": dictionary, **said, **({"star": YES} if key in starred else {})},
        )
        for note in notes.notes:
            if note.key == key:
                yield Block(3, f"Note {note.written} {note.id}", {BODY: note.text})


def _lists(notes: Notebook) -> Iterator[Block]:
    for one in notes.lists:
        yield Block(2, f"List {one.name}", _there({"test text": one.test_text, BODY: one.words}))
        for item in notes.items:
            if item.list == one.name:
                yield Block(
                    3, f"Item {item.run} {item.latent}", _there({"dictionary": item.dictionary, BODY: item.text})
                )


def _studies(notes: Notebook, beside: Mapping[str, Sequence[Block]]) -> Iterator[Block]:
    for one in notes.studies:
        yield Block(2, f"Case study {one.written} {one.id}", _there({"title": one.title, BODY: one.text}))
        for pin in notes.pins:
            if pin.study == one.id:
                position = "" if pin.position == NO_POSITION else str(pin.position)
                values = {"dictionary": pin.dictionary, "position": position, "example": pin.example}
                yield Block(3, f"Pin {pin.run} {pin.latent}", _there(values))
        yield from beside.get(one.id, [])


def _there(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _kind(name: str, block: Block) -> tuple[str, str]:
    """Which kind a heading is, and its other words."""
    for kind, fields in _FIELDS.items():
        if block.heading.startswith(f"{kind} ") and block.level == (3 if kind in _INSIDE else 2):
            if odd := sorted(set(block.values) - fields):
                raise _wrong(name, block, f"under it only {', '.join(sorted(fields))}, not {', '.join(odd)}")
            return kind, block.heading.removeprefix(kind).strip()
    raise _wrong(name, block, "a heading of " + ", ".join(_FIELDS))


def _add(found: dict[str, list[Any]], above: dict[str, Any], kind: str, words: str, values: dict[str, str]) -> None:
    """Put one block among what was found. Raises `ValueError` or `UserError` where it is not complete."""
    text = values.get(BODY, "")
    match kind:
        case "Feature":
            feature = above[kind] = Feature.parse(_feature(words, values))
            if "label" in values:
                found["labels"].append(Label.parse({**feature.to_json(), "text": values["label"]}))
            found["stars"] += [feature] if "star" in values else []
        case "Note":
            time, id_ = words.split()
            note = {**above["Feature"].to_json(), "id": id_, "text": text, "written": time}
            found["notes"].append(Note.parse(note))
        case "List":
            above[kind] = Listed.parse({"name": words, "words": text, "test_text": values.get("test text", "")})
            found["lists"].append(above[kind])
        case "Item":
            found["items"].append(Item.parse({**_feature(words, values), "list": above["List"].name, "text": text}))
        case "Case study":
            time, id_ = words.split()
            study = {"id": id_, "title": values.get("title", ""), "text": text, "written": time}
            above[kind] = Study.parse(study)
            found["studies"].append(above[kind])
        case "Pin":
            more = {"position": values.get("position", NO_POSITION), "example": values.get("example", "")}
            found["pins"].append(Pin.parse({**_feature(words, values), "study": above["Case study"].id, **more}))
        case "Picked" | "Drawn":
            Feature.parse(_feature(words, values))  # nothing that anybody wrote: it is made again where it is shown


def _feature(words: str, values: dict[str, str]) -> dict[str, Any]:
    run, latent = words.split()
    return {"run": run, "dictionary": values.get("dictionary", ""), "latent": int(latent)}


def _wrong(name: str, block: Block, expected: str) -> UserError:
    return UserError(
        f"Line {block.line} of {name}: {'#' * block.level} {block.heading[:60]}",
        expected,
        "correct the file; nothing of it was taken up.",
    )
