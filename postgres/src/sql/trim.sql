-- Deletes rows older than $1 seconds, of the $2 oldest before the oldest transaction that ran at the snapshot $3, and moves the horizon. Later rows
-- would move it past followers that are up to date.
WITH old AS (
    SELECT xact, id FROM larder_outbox
    WHERE (xact, id) IN (
        SELECT xact, id FROM larder_outbox WHERE xact < pg_snapshot_xmin($3::text::pg_snapshot) ORDER BY xact, id LIMIT $2
    ) AND created < clock_timestamp() - make_interval(secs => $1)
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM larder_outbox AS outbox USING old WHERE outbox.xact = old.xact AND outbox.id = old.id RETURNING outbox.xact
), moved AS (
    UPDATE larder_outbox_horizon SET xact = greatest(xact, (SELECT gone.xact FROM gone ORDER BY gone.xact DESC LIMIT 1))
    WHERE EXISTS (SELECT FROM gone)
)
SELECT count(*) FROM gone
