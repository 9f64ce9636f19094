-- Version 2: what people expect, and the alerts that nobody was told of for it.

CREATE TABLE suppressions (
    id INTEGER PRIMARY KEY,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    lifted INTEGER,
    body TEXT NOT NULL,
    revision INTEGER NOT NULL UNIQUE
) STRICT;

CREATE TRIGGER suppressions_stay_lifted BEFORE UPDATE ON suppressions
WHEN OLD.lifted IS NOT NULL AND NEW.lifted IS NULL
BEGIN SELECT RAISE(ABORT, 'a lifted suppression stays lifted'); END;

-- The newest ones: older rows give way.
CREATE TABLE suppressed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    suppression INTEGER NOT NULL,
    key INTEGER NOT NULL,
    time INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX suppressed_by_key ON suppressed (key);
