-- Version 5: keys whose credential was replaced. The one before is remembered after its end, so that whoever still
-- presents it hears why it is refused.

ALTER TABLE keys ADD COLUMN previous BLOB CHECK (previous IS NULL OR length(previous) = 32);
ALTER TABLE keys ADD COLUMN rotated INTEGER;
ALTER TABLE keys ADD COLUMN previous_ends INTEGER
    CHECK ((previous IS NULL) = (rotated IS NULL) AND (previous IS NULL) = (previous_ends IS NULL));

DROP TRIGGER keys_keep_identity;

CREATE TRIGGER keys_keep_identity BEFORE UPDATE ON keys
WHEN OLD.id <> NEW.id OR OLD.created <> NEW.created
BEGIN SELECT RAISE(ABORT, 'the id and birth of a key never change'); END;

-- A rotation makes the hash of now the one before, or keeps the one before when the newest was never put to use.
CREATE TRIGGER keys_rotate BEFORE UPDATE ON keys
WHEN OLD.hash <> NEW.hash
    AND (NEW.rotated IS NULL OR NEW.rotated <= ifnull(OLD.rotated, OLD.created)
        OR NEW.hash IS OLD.previous OR NEW.previous NOT IN (OLD.hash, ifnull(OLD.previous, OLD.hash)))
BEGIN SELECT RAISE(ABORT, 'a rotation moves on and keeps one of the credentials it found'); END;

CREATE TRIGGER keys_keep_credentials BEFORE UPDATE ON keys
WHEN OLD.hash = NEW.hash AND (NEW.previous IS NOT OLD.previous OR NEW.rotated IS NOT OLD.rotated)
BEGIN SELECT RAISE(ABORT, 'only a rotation replaces credentials'); END;
