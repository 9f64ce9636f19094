-- Version 1 of the checkpoint database. It can be rebuilt from nothing but the events, so it lives apart: its
-- bulk never delays a revocation and its commits never wake those who watch keys for changes.
CREATE TABLE checkpoints (
    key INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- How far the checkpoints cover the journal of each process that wrote one.
CREATE TABLE journal_positions (
    stream TEXT PRIMARY KEY,
    ordinal INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
