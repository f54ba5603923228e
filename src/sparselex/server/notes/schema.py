"""The tables of what people write, in the workspace's database.

Whatever is said of a feature is kept under the run's name, the id of its dictionary and the number of the latent: the
notes of a dictionary that was replaced are not those of the new one.
"""

from sparselex.base.database import Migration

_FIRST: Migration = (
    # Versions are drawn from one counter: one that a reader holds never comes again, not even for a text made anew.
    "CREATE TABLE note_counter (only INTEGER PRIMARY KEY CHECK (only = 0), version INTEGER NOT NULL)",
    "INSERT INTO note_counter VALUES (0, 0)",
    """CREATE TABLE note_label (
    run TEXT NOT NULL, dictionary TEXT NOT NULL, latent INTEGER NOT NULL,
    text TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (dictionary, run, latent)
) WITHOUT ROWID""",
    """CREATE TABLE note_star (
    run TEXT NOT NULL, dictionary TEXT NOT NULL, latent INTEGER NOT NULL, PRIMARY KEY (dictionary, run, latent)
) WITHOUT ROWID""",
    """CREATE TABLE note_text (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, dictionary TEXT NOT NULL, latent INTEGER NOT NULL,
    text TEXT NOT NULL, version INTEGER NOT NULL, written TEXT NOT NULL
) WITHOUT ROWID""",
    "CREATE INDEX note_text_of ON note_text (dictionary, run, latent)",
    """CREATE TABLE note_list (
    name TEXT PRIMARY KEY, words TEXT NOT NULL, test_text TEXT NOT NULL, version INTEGER NOT NULL
) WITHOUT ROWID""",
    """CREATE TABLE note_item (
    list TEXT NOT NULL REFERENCES note_list (name) ON DELETE CASCADE,
    run TEXT NOT NULL, dictionary TEXT NOT NULL, latent INTEGER NOT NULL,
    place INTEGER NOT NULL, text TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (list, dictionary, run, latent)
) WITHOUT ROWID""",
    "CREATE INDEX note_item_of ON note_item (dictionary, run, latent)",
    """CREATE TABLE note_study (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, version INTEGER NOT NULL, written TEXT NOT NULL
) WITHOUT ROWID""",
    """CREATE TABLE note_pin (
    study TEXT NOT NULL REFERENCES note_study (id) ON DELETE CASCADE,
    run TEXT NOT NULL, dictionary TEXT NOT NULL, latent INTEGER NOT NULL, position INTEGER NOT NULL,
    place INTEGER NOT NULL, example TEXT NOT NULL, PRIMARY KEY (study, dictionary, run, latent, position)
) WITHOUT ROWID""",
)

MIGRATIONS = (_FIRST,)
"""Never changed once published: a new version adds one."""

NEXT_VERSION = "UPDATE note_counter SET version = version + 1 RETURNING version"

OF_FEATURE = "run = ? AND dictionary = ? AND latent = ?"
"""Condition on the three columns of a feature, in the order of the fields of a `Feature`."""

LABELS = "SELECT run, dictionary, latent, text, version FROM note_label"
STARS = "SELECT run, dictionary, latent FROM note_star"
NOTES = "SELECT run, dictionary, latent, id, text, version, written FROM note_text"
LISTS = "SELECT name, words, test_text, version FROM note_list"
ITEMS = "SELECT run, dictionary, latent, list, text, version FROM note_item"
STUDIES = "SELECT id, title, text, version, written FROM note_study"
PINS = "SELECT run, dictionary, latent, study, position, example FROM note_pin"
