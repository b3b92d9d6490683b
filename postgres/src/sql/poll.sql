-- What became visible since the snapshot $1, of at most $2 rows and tags: rows of transactions that began after it, and of those that were running.
-- Without its statistics, PostgreSQL might read the whole table for a condition with OR.
WITH unseen AS MATERIALIZED (
    SELECT tags FROM (
        SELECT tags FROM larder_outbox WHERE xact >= pg_snapshot_xmax($1::text::pg_snapshot)
        UNION ALL
        SELECT tags FROM larder_outbox WHERE xact = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
    ) AS visible LIMIT $2
)
SELECT
    pg_current_snapshot()::text AS snapshot,
    (SELECT term::text FROM larder_outbox_term WHERE started = pg_postmaster_start_time()) AS term,
    (SELECT xact >= pg_snapshot_xmin($1::text::pg_snapshot) FROM larder_outbox_horizon) AS is_trimmed,
    (SELECT count(*) FROM unseen) AS rows,
    (SELECT coalesce(bool_or(tags IS NULL), false) FROM unseen) AS is_everything,
    ARRAY(SELECT DISTINCT tag FROM unseen, unnest(tags) AS tag WHERE tag IS NOT NULL LIMIT $2) AS tags
