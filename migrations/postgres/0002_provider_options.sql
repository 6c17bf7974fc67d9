-- What each request to a provider carries besides, and how long a provider may take.

-- headers: a JSON object of names, in lower case, and values. A limit that is NULL is the one of the
-- gateway's settings.
ALTER TABLE providers
    ADD COLUMN headers TEXT NOT NULL DEFAULT '{}',
    ADD COLUMN connect_timeout_ms BIGINT CHECK (connect_timeout_ms > 0),
    ADD COLUMN response_timeout_ms BIGINT CHECK (response_timeout_ms > 0),
    ADD COLUMN idle_timeout_ms BIGINT CHECK (idle_timeout_ms > 0);
