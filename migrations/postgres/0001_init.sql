-- Providers, models and user keys, and the log of every change to them.

CREATE TABLE providers (
    id         UUID PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    base_url   TEXT NOT NULL,
    api_key    TEXT NOT NULL,
    is_active  BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE models (
    id                  UUID PRIMARY KEY,
    name                TEXT NOT NULL UNIQUE,
    provider_id         UUID NOT NULL REFERENCES providers (id),
    provider_model_name TEXT,
    is_active           BOOLEAN NOT NULL DEFAULT TRUE,
    created_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at          TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX models_provider_id ON models (provider_id);

-- key_hash: SHA-256 of the plaintext, 64 lower-case hexadecimal digits. A revoked key's row stays.
CREATE TABLE user_keys (
    id         UUID PRIMARY KEY,
    name       TEXT NOT NULL,
    key_hash   TEXT NOT NULL UNIQUE CHECK (key_hash ~ '^[0-9a-f]{64}$'),
    key_prefix TEXT NOT NULL,
    is_active  BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- One row. Whoever changes something holds it until commit, so numbers become visible in order:
-- "version n" means everything up to n. The epoch names this database and no other.
CREATE TABLE change_counter (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    epoch    UUID NOT NULL,
    version  BIGINT NOT NULL
);

INSERT INTO change_counter (epoch, version) VALUES (gen_random_uuid(), 0);

-- What each version changed, as the caches name it: the hash of a key, the name of a model, or
-- 'all' where a list would be longer than reading everything again.
CREATE TABLE changes (
    version    BIGINT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('key', 'route', 'all')),
    entry      TEXT NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (version, kind, entry)
);

-- Triggers write the log, so that a change by hand counts too: one version per statement.
CREATE FUNCTION record_changes(changed_kind TEXT, entries TEXT[]) RETURNS VOID
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    next_version BIGINT;
BEGIN
    IF coalesce(cardinality(entries), 0) = 0 THEN
        RETURN;
    END IF;
    UPDATE change_counter SET version = version + 1 RETURNING version INTO next_version;
    IF cardinality(entries) > 5000 THEN
        INSERT INTO changes (version, kind, entry) VALUES (next_version, 'all', '');
    ELSE
        INSERT INTO changes (version, kind, entry)
        SELECT DISTINCT next_version, changed_kind, entry FROM unnest(entries) AS entry;
    END IF;
    PERFORM pg_notify('llm_gateway_changes', next_version::TEXT);
END $$;

CREATE FUNCTION user_keys_changed() RETURNS TRIGGER
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            PERFORM record_changes('key', ARRAY(SELECT key_hash FROM new_rows));
        WHEN 'UPDATE' THEN
            PERFORM record_changes('key', ARRAY(SELECT key_hash FROM new_rows UNION SELECT key_hash FROM old_rows));
        WHEN 'DELETE' THEN
            PERFORM record_changes('key', ARRAY(SELECT key_hash FROM old_rows));
    END CASE;
    RETURN NULL;
END $$;

CREATE TRIGGER user_keys_inserted AFTER INSERT ON user_keys
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION user_keys_changed();
CREATE TRIGGER user_keys_updated AFTER UPDATE ON user_keys
    REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION user_keys_changed();
CREATE TRIGGER user_keys_deleted AFTER DELETE ON user_keys
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION user_keys_changed();

CREATE FUNCTION models_changed() RETURNS TRIGGER
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            PERFORM record_changes('route', ARRAY(SELECT name FROM new_rows));
        WHEN 'UPDATE' THEN
            PERFORM record_changes('route', ARRAY(SELECT name FROM new_rows UNION SELECT name FROM old_rows));
        WHEN 'DELETE' THEN
            PERFORM record_changes('route', ARRAY(SELECT name FROM old_rows));
    END CASE;
    RETURN NULL;
END $$;

CREATE TRIGGER models_inserted AFTER INSERT ON models
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION models_changed();
CREATE TRIGGER models_updated AFTER UPDATE ON models
    REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION models_changed();
CREATE TRIGGER models_deleted AFTER DELETE ON models
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION models_changed();

-- A new or deleted provider has no models, so only an update changes routes.
CREATE FUNCTION providers_updated() RETURNS TRIGGER
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- First the counter: a model that somebody is mapping at this moment must be seen below.
    PERFORM 1 FROM change_counter FOR UPDATE;
    PERFORM record_changes('route', ARRAY(
        SELECT models.name FROM models JOIN new_rows ON models.provider_id = new_rows.id));
    RETURN NULL;
END $$;

CREATE TRIGGER providers_updated AFTER UPDATE ON providers
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION providers_updated();

CREATE FUNCTION everything_changed() RETURNS TRIGGER
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    next_version BIGINT;
BEGIN
    UPDATE change_counter SET version = version + 1 RETURNING version INTO next_version;
    INSERT INTO changes (version, kind, entry) VALUES (next_version, 'all', '');
    PERFORM pg_notify('llm_gateway_changes', next_version::TEXT);
    RETURN NULL;
END $$;

CREATE TRIGGER user_keys_truncated AFTER TRUNCATE ON user_keys
    FOR EACH STATEMENT EXECUTE FUNCTION everything_changed();
CREATE TRIGGER models_truncated AFTER TRUNCATE ON models
    FOR EACH STATEMENT EXECUTE FUNCTION everything_changed();
