-- Version 3: what people are to be told, and to whom it was sent.

-- Written in the transaction that changes the incident. `routed` is when it was decided who is told.
CREATE TABLE alerts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    incident INTEGER NOT NULL,
    time INTEGER NOT NULL,
    cause TEXT NOT NULL,
    body TEXT NOT NULL,
    routed INTEGER
) STRICT;
CREATE INDEX alerts_by_incident ON alerts (incident);
CREATE INDEX alerts_unrouted ON alerts (sequence) WHERE routed IS NULL;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sequence INTEGER NOT NULL REFERENCES alerts (sequence),
    incident INTEGER NOT NULL,
    destination TEXT NOT NULL,
    route TEXT NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    created INTEGER NOT NULL,
    ended INTEGER,
    UNIQUE (sequence, destination, cause)
) STRICT;
CREATE INDEX deliveries_pending ON deliveries (destination, id) WHERE state = 'pending';
CREATE INDEX deliveries_by_incident ON deliveries (incident);

CREATE TRIGGER deliveries_end_once BEFORE UPDATE ON deliveries
WHEN OLD.state <> 'pending'
BEGIN SELECT RAISE(ABORT, 'a delivery that has ended stays as it is'); END;

-- Until when nobody wants to hear of an incident.
CREATE TABLE snoozes (
    incident INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
