-- Version 1. Never edit a migration that was released: add the next one.
-- Times are microseconds since 1970-01-01 UTC. Ids are the 60 bits of the written id.

-- One counter for all tables: every changed row takes the next value in the transaction that changes it, so
-- "what changed since revision n" is exact.
CREATE TABLE counter (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counter (id, value) VALUES (1, 0);

CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    on_call TEXT NOT NULL,
    channel TEXT NOT NULL,
    defaults TEXT NOT NULL,
    created INTEGER NOT NULL,
    revision INTEGER NOT NULL UNIQUE
) STRICT;

CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    owner INTEGER REFERENCES owners (id),
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    workload TEXT NOT NULL,
    policy TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    state_reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    revision INTEGER NOT NULL UNIQUE
) STRICT;

CREATE TRIGGER keys_stay_revoked BEFORE UPDATE ON keys
WHEN OLD.state = 'revoked' AND NEW.state <> 'revoked'
BEGIN SELECT RAISE(ABORT, 'a revoked key stays revoked'); END;

CREATE TRIGGER keys_keep_identity BEFORE UPDATE ON keys
WHEN OLD.id <> NEW.id OR OLD.hash <> NEW.hash OR OLD.created <> NEW.created
BEGIN SELECT RAISE(ABORT, 'the id, hash and birth of a key never change'); END;

CREATE TRIGGER keys_grow BEFORE UPDATE ON keys
WHEN NEW.revision <= OLD.revision
BEGIN SELECT RAISE(ABORT, 'the revision of a key only grows'); END;

CREATE TRIGGER keys_are_kept BEFORE DELETE ON keys
BEGIN SELECT RAISE(ABORT, 'keys are revoked, never deleted'); END;

CREATE TABLE containments (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    incident INTEGER,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    lifted INTEGER,
    lifted_by TEXT,
    revision INTEGER NOT NULL UNIQUE,
    CHECK ((lifted IS NULL) = (lifted_by IS NULL))
) STRICT;
CREATE INDEX containments_by_key ON containments (key);
CREATE INDEX containments_not_lifted ON containments (id) WHERE lifted IS NULL;

CREATE TABLE incidents (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    state TEXT NOT NULL,
    severity TEXT NOT NULL,
    opened INTEGER NOT NULL,
    body TEXT NOT NULL,
    revision INTEGER NOT NULL UNIQUE
) STRICT;
CREATE INDEX incidents_by_key ON incidents (key, opened);
CREATE INDEX incidents_open ON incidents (opened) WHERE state IN ('open', 'contained');
CREATE INDEX incidents_by_age ON incidents (opened);

-- What was said is never unsaid: a later word wins.
CREATE TABLE feedback (
    revision INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    time INTEGER NOT NULL,
    context TEXT NOT NULL,
    says TEXT NOT NULL
) STRICT;

CREATE TABLE admin_tokens (
    name TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    role TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER
) STRICT, WITHOUT ROWID;

CREATE TRIGGER admin_tokens_stay_revoked BEFORE UPDATE ON admin_tokens
WHEN OLD.revoked IS NOT NULL AND NEW.revoked IS NULL
BEGIN SELECT RAISE(ABORT, 'a revoked admin token stays revoked'); END;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;

-- Where the chain ends, so that rows missing at its end are noticed too.
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;
INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '');

CREATE TRIGGER audit_has_no_gaps BEFORE INSERT ON audit
WHEN NEW.seq <> (SELECT seq + 1 FROM audit_head)
BEGIN SELECT RAISE(ABORT, 'audit rows follow each other without gaps'); END;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;
