-- Deletes rows older than $1 seconds, of the $2 oldest before the oldest transaction that ran at the snapshot $3, and moves the horizon. Later rows
-- would move it past followers that are up to date. One follower at a time; no index is needed for `created`.
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(7165065871213) AS is_mine
), oldest AS MATERIALIZED (
    SELECT ctid, created FROM larder_outbox
    WHERE xact < pg_snapshot_xmin($3::text::pg_snapshot) AND (SELECT is_mine FROM turn)
    ORDER BY xact, id LIMIT $2
), gone AS (
    DELETE FROM larder_outbox
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM oldest WHERE created < clock_timestamp() - make_interval(secs => $1)))
    RETURNING xact
), moved AS (
    UPDATE larder_outbox_horizon SET xact = greatest(xact, (SELECT gone.xact FROM gone ORDER BY gone.xact DESC LIMIT 1))
    WHERE EXISTS (SELECT FROM gone)
)
SELECT count(*) FROM gone
