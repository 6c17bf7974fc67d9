-- What each request to a provider carries besides, and how long a provider may take.

-- A JSON object: names in lower case, and values.
ALTER TABLE providers ADD COLUMN headers TEXT NOT NULL DEFAULT '{}';
-- NULL: the limit of the gateway's settings.
ALTER TABLE providers ADD COLUMN connect_timeout_ms BIGINT CHECK (connect_timeout_ms > 0);
ALTER TABLE providers ADD COLUMN response_timeout_ms BIGINT CHECK (response_timeout_ms > 0);
ALTER TABLE providers ADD COLUMN idle_timeout_ms BIGINT CHECK (idle_timeout_ms > 0);
