-- Wakes followers at each commit that has pushed something. PostgreSQL commits transactions that notify one after the other.
CREATE OR REPLACE FUNCTION larder_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $larder$
BEGIN
    PERFORM pg_notify('larder_outbox', '');
    RETURN NULL;
END
$larder$;
DROP TRIGGER IF EXISTS larder_outbox_notify ON larder_outbox;
CREATE TRIGGER larder_outbox_notify AFTER INSERT ON larder_outbox FOR EACH STATEMENT EXECUTE FUNCTION larder_outbox_notify();
