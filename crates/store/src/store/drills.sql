-- Version 4: rehearsed thefts. Incidents and containments of a drill hang on its stand-in, whose id is the drill's.

CREATE TABLE drills (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    started INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX drills_by_key ON drills (key, started);
