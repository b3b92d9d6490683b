-- KEYS: record. What it says, if it was written in this reign. One of before a failover or a restart may lack what was invalidated
-- last: it comes with a mark behind it, by which it is no record to whoever reads it, and can be replaced.
local raw = redis.pcall('GET', KEYS[1])
if type(raw) ~= 'string' then return false end
if string.sub(raw, -40) == primary_id() then return string.sub(raw, 1, -41) end
return raw
