-- The outbox of larder, in the first schema of the search path. Running it again changes nothing.
CREATE TABLE IF NOT EXISTS larder_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- The transaction that pushed the row: what followers read by. Ids commit out of order.
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- NULL stands for everything.
    tags text[],
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xact, id)
);

-- The latest transaction of which a row was deleted: a follower that had not read so far has missed something.
CREATE TABLE IF NOT EXISTS larder_outbox_horizon (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    xact xid8 NOT NULL
);
INSERT INTO larder_outbox_horizon (xact) VALUES ('0') ON CONFLICT DO NOTHING;

-- A name for the present run of transaction ids. PostgreSQL empties an unlogged table when it recovers from a crash or is promoted: it may then
-- assign ids again that a follower has met before. A dump has its rows, so the start of the server counts, too.
CREATE UNLOGGED TABLE IF NOT EXISTS larder_outbox_term (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    term uuid NOT NULL DEFAULT gen_random_uuid(),
    started timestamptz NOT NULL DEFAULT pg_postmaster_start_time()
);

-- How far the followers of each shared store are.
CREATE TABLE IF NOT EXISTS larder_outbox_position (
    store text PRIMARY KEY,
    term uuid NOT NULL,
    snapshot text NOT NULL,
    saved timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A value as it stands in a tag: percent-encoded, except for ASCII letters and digits, `-`, `.`, `_` and `~`.
CREATE OR REPLACE FUNCTION larder_escape(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $larder$
    SELECT CASE WHEN value COLLATE "C" ~ '^[A-Za-z0-9._~-]*$' THEN value ELSE (
        SELECT string_agg(
            CASE WHEN byte BETWEEN 48 AND 57 OR byte BETWEEN 65 AND 90 OR byte BETWEEN 97 AND 122 OR byte IN (45, 46, 95, 126)
                THEN chr(byte) ELSE '%' || upper(lpad(to_hex(byte), 2, '0')) END,
            '' ORDER BY at)
        FROM (
            SELECT at, get_byte(bytes, at) AS byte
            FROM (SELECT convert_to(value, 'UTF8') AS bytes) AS encoded, generate_series(0, octet_length(bytes) - 1) AS at
        ) AS in_bytes
    ) END
$larder$;
