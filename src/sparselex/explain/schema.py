"""The tables of explanations, scores and judgements in the workspace's database."""

from sparselex.base.database import Migration

_FIRST: Migration = (
    """CREATE TABLE explanation (
    id INTEGER PRIMARY KEY, index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL,
    status TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, predictor TEXT,
    config_id TEXT NOT NULL, code_version TEXT NOT NULL, UNIQUE (index_id, latent, explainer)
)""",
    """CREATE TABLE scoring (
    explanation INTEGER NOT NULL REFERENCES explanation (id) ON DELETE CASCADE, scorer TEXT NOT NULL,
    place INTEGER NOT NULL, headline TEXT NOT NULL, failure TEXT,
    config_id TEXT NOT NULL, code_version TEXT NOT NULL, PRIMARY KEY (explanation, scorer)
) WITHOUT ROWID""",
    """CREATE TABLE score (
    explanation INTEGER NOT NULL, scorer TEXT NOT NULL, metric TEXT NOT NULL, place INTEGER NOT NULL,
    value REAL NOT NULL, ci_low REAL, ci_high REAL, n INTEGER NOT NULL, null_value REAL,
    PRIMARY KEY (explanation, scorer, metric),
    FOREIGN KEY (explanation, scorer) REFERENCES scoring (explanation, scorer) ON DELETE CASCADE
) WITHOUT ROWID""",
    """CREATE TABLE judgement (
    explanation INTEGER NOT NULL, scorer TEXT NOT NULL, position INTEGER NOT NULL, expected REAL NOT NULL, said REAL,
    PRIMARY KEY (explanation, scorer, position),
    FOREIGN KEY (explanation, scorer) REFERENCES scoring (explanation, scorer) ON DELETE CASCADE
) WITHOUT ROWID""",
    """CREATE TABLE metric (
    scorer TEXT NOT NULL, metric TEXT NOT NULL, words TEXT NOT NULL, PRIMARY KEY (scorer, metric)
) WITHOUT ROWID""",
    # An index of words that nothing asks any more; `_WITHOUT_WORDS` takes it away.
    """CREATE VIRTUAL TABLE explanation_text USING fts5(title, text, content = 'explanation', content_rowid = 'id')""",
    """CREATE TRIGGER explanation_added AFTER INSERT ON explanation BEGIN
    INSERT INTO explanation_text (rowid, title, text) VALUES (new.id, new.title, new.text);
END""",
    """CREATE TRIGGER explanation_removed AFTER DELETE ON explanation BEGIN
    INSERT INTO explanation_text (explanation_text, rowid, title, text) VALUES ('delete', old.id, old.title, old.text);
END""",
)

_WITHOUT_WORDS: Migration = (
    "DROP TRIGGER explanation_added",
    "DROP TRIGGER explanation_removed",
    "DROP TABLE explanation_text",
)

MIGRATIONS = (_FIRST, _WITHOUT_WORDS)
"""Never changed once published: a new version adds one."""

READABLE_FROM = 1
"""The earliest version that is read as it is: what came since takes away what nobody reads."""

ADD_EXPLANATION = """INSERT INTO explanation
    (index_id, latent, explainer, status, title, text, predictor, config_id, code_version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

SAID_AGAIN = """UPDATE explanation SET config_id = ?, code_version = ?
    WHERE index_id = ? AND latent = ? AND explainer = ? AND status = ? AND title = ? AND text = ? AND predictor IS ?"""

EXPLANATION_ID = "SELECT id FROM explanation WHERE index_id = ? AND latent = ? AND explainer = ?"

EXPLANATIONS = "SELECT latent, explainer, status, text, title, predictor FROM explanation"

SCORES = """SELECT explainer, score.scorer, metric, value, ci_low, ci_high, n, null_value
    FROM score JOIN scoring USING (explanation, scorer) JOIN explanation ON id = explanation"""

JUDGEMENTS = """SELECT explainer, scorer, position, expected, said
    FROM judgement JOIN explanation ON id = explanation"""

FAILURES = "SELECT latent, scorer, failure FROM scoring JOIN explanation ON id = explanation"

_SCORED = """FROM explanation LEFT JOIN scoring ON scoring.explanation = id
    LEFT JOIN score ON score.explanation = id AND score.scorer = scoring.scorer AND metric = headline"""

_ENTRY = "SELECT latent, explainer, status, title, scoring.scorer, metric, value, null_value, ci_low, ci_high, n"

# Rules first, which all latents have.
BY_EXPLAINER = "explainer != 'rule', explainer"

_IN_LISTS = f"latent, {BY_EXPLAINER}, scoring.place"

ENTRIES = f"{_ENTRY} {_SCORED} WHERE index_id = ? ORDER BY {_IN_LISTS}"

ENTRIES_OF = f"""{_ENTRY} {_SCORED} WHERE index_id = ? AND latent IN (SELECT value FROM json_each(?))
    ORDER BY {_IN_LISTS}"""

# Scorings and scores are looked up by their primary keys, explanations by their index: nothing is gone through whole.
FOREMOST = f"""SELECT explainer, scoring.scorer, metric, COUNT(*) FROM explanation
    JOIN scoring ON scoring.explanation = id
    JOIN score ON score.explanation = id AND score.scorer = scoring.scorer AND metric = headline
    WHERE index_id = ? GROUP BY explainer, scoring.scorer, metric ORDER BY {BY_EXPLAINER}, MIN(scoring.place), metric"""

SCORED_BY = """SELECT latent, value, null_value, ci_low, ci_high, n FROM explanation
    JOIN score ON score.explanation = id AND scorer = ? AND metric = ? WHERE index_id = ? AND explainer = ?"""

_TEXT = "SELECT latent, explainer, text, predictor IS NOT NULL FROM explanation"

TEXTS = f"{_TEXT} WHERE index_id = ? AND status = 'explained' ORDER BY latent, {BY_EXPLAINER}"

TEXTS_OF = f"""{_TEXT} WHERE index_id = ? AND status = 'explained'
    AND latent IN (SELECT value FROM json_each(?)) ORDER BY latent, {BY_EXPLAINER}"""

METRICS = "SELECT scorer, metric, words FROM metric"

SCORERS = """SELECT scorer FROM scoring JOIN explanation ON id = explanation
    WHERE index_id = ? AND explainer = ? GROUP BY scorer ORDER BY MIN(scoring.place), scorer"""

ARRANGE = """UPDATE scoring SET place = ?
    WHERE scorer = ? AND explanation IN (SELECT id FROM explanation WHERE index_id = ? AND explainer = ?)"""
