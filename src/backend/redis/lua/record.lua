-- KEYS: record. Returns the record without the id of the primary that wrote it, if that is this primary. A record from before a failover or
-- a restart may lack later invalidations: it is returned with the id, so that readers reject it and can replace it by compare-and-swap.
local raw = get_string('GET', KEYS[1])
if not raw then return false end
if string.sub(raw, -40) == primary_id() then return string.sub(raw, 1, -41) end
return raw
