-- Version 6: billing alarms.

-- What an alert is about. The column `incident` holds the id of either kind; a server of an older version that still drains
-- writes none of these columns.
ALTER TABLE alerts ADD COLUMN subject TEXT NOT NULL DEFAULT 'incident';
ALTER TABLE deliveries ADD COLUMN subject TEXT NOT NULL DEFAULT 'incident';

-- Each is raised once: written in one transaction with its alert.
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY,
    spender TEXT NOT NULL,
    kind TEXT NOT NULL,
    period INTEGER NOT NULL,
    raised INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (spender, kind, period)
) STRICT;
CREATE INDEX alarms_by_time ON alarms (raised);

-- Until when nobody wants to hear of a spender.
CREATE TABLE spender_snoozes (
    spender TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
