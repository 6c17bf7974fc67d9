-- Providers, models and user keys, and the log of every change to them.

CREATE TABLE providers (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    base_url   TEXT NOT NULL,
    api_key    TEXT NOT NULL,
    is_active  BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);

CREATE TABLE models (
    id                  BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    name                TEXT NOT NULL UNIQUE,
    provider_id         BLOB NOT NULL REFERENCES providers (id),
    provider_model_name TEXT,
    is_active           BOOLEAN NOT NULL DEFAULT TRUE,
    created_at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    updated_at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);

CREATE INDEX models_provider_id ON models (provider_id);

-- key_hash: SHA-256 of the plaintext, 64 lower-case hexadecimal digits. A revoked key's row stays.
CREATE TABLE user_keys (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    name       TEXT NOT NULL,
    key_hash   TEXT NOT NULL UNIQUE CHECK (length(key_hash) = 64 AND key_hash NOT GLOB '*[^0-9a-f]*'),
    key_prefix TEXT NOT NULL,
    is_active  BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);

-- One row. "Version n" means everything up to n. The epoch names this database and no other.
CREATE TABLE change_counter (
    only_row BOOLEAN PRIMARY KEY NOT NULL DEFAULT TRUE CHECK (only_row),
    epoch    BLOB NOT NULL,
    version  BIGINT NOT NULL
);

INSERT INTO change_counter (epoch, version) VALUES (randomblob(16), 0);

-- What each version changed, as the caches name it: the hash of a key, the name of a model, or
-- 'all' where a list would be longer than reading everything again.
CREATE TABLE changes (
    version    BIGINT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('key', 'route', 'all')),
    entry      TEXT NOT NULL,
    changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    PRIMARY KEY (version, kind, entry)
) WITHOUT ROWID;

-- Triggers write the log, so that a change by hand counts too: one version per changed row.

CREATE TRIGGER user_keys_inserted AFTER INSERT ON user_keys
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'key', NEW.key_hash FROM change_counter;
END;

CREATE TRIGGER user_keys_updated AFTER UPDATE ON user_keys
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'key', NEW.key_hash FROM change_counter
    UNION SELECT version, 'key', OLD.key_hash FROM change_counter;
END;

CREATE TRIGGER user_keys_deleted AFTER DELETE ON user_keys
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'key', OLD.key_hash FROM change_counter;
END;

CREATE TRIGGER models_inserted AFTER INSERT ON models
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'route', NEW.name FROM change_counter;
END;

CREATE TRIGGER models_updated AFTER UPDATE ON models
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'route', NEW.name FROM change_counter
    UNION SELECT version, 'route', OLD.name FROM change_counter;
END;

CREATE TRIGGER models_deleted AFTER DELETE ON models
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'route', OLD.name FROM change_counter;
END;

-- A new or deleted provider has no models, so only an update changes routes.
CREATE TRIGGER providers_updated AFTER UPDATE ON providers
    WHEN EXISTS (SELECT 1 FROM models WHERE provider_id = NEW.id)
BEGIN
    UPDATE change_counter SET version = version + 1;
    INSERT INTO changes (version, kind, entry)
    SELECT version, 'route', name FROM change_counter, models WHERE provider_id = NEW.id;
END;
