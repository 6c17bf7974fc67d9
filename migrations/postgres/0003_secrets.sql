-- Under which key the secrets of this database are sealed, and who changed what.

-- One row. NULL: providers' keys are stored in plaintext. The id is a fingerprint, not the key.
CREATE TABLE encryption (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    key_id   TEXT
);

INSERT INTO encryption (key_id) VALUES (NULL);

-- One row per change, written in the transaction that made it. No secret is ever among it.
-- item_name: as it was when the change was done. fields: names, separated by commas.
-- admin_key: the fingerprint of the admin key. It is NULL, like peer, for the command line.
-- forwarded_for: what a proxy, or whoever called, claimed.
CREATE TABLE audit (
    id            UUID PRIMARY KEY,
    action        TEXT NOT NULL,
    item_kind     TEXT NOT NULL,
    item_id       UUID,
    item_name     TEXT,
    fields        TEXT NOT NULL,
    admin_key     TEXT,
    peer          TEXT,
    forwarded_for TEXT,
    created_at    TIMESTAMPTZ NOT NULL
);

CREATE INDEX audit_created_at ON audit (created_at);
