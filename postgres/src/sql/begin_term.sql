-- Names the present run of transaction ids, unless another follower has done so. Every follower of an earlier term invalidates everything.
LOCK TABLE larder_outbox_term IN EXCLUSIVE MODE;
DELETE FROM larder_outbox_term WHERE started <> pg_postmaster_start_time();
-- Rows of transactions that have not begun yet come from another server, by a dump.
DELETE FROM larder_outbox
WHERE xact >= pg_snapshot_xmax(pg_current_snapshot()) AND NOT EXISTS (SELECT FROM larder_outbox_term);
UPDATE larder_outbox_horizon SET xact = '0' WHERE NOT EXISTS (SELECT FROM larder_outbox_term);
INSERT INTO larder_outbox_term DEFAULT VALUES ON CONFLICT DO NOTHING;
