-- KEYS: record. What it says, if it was written in this reign: one from before a restart or a failover may lack what was invalidated last.
local raw = redis.call('GET', KEYS[1])
if raw and string.sub(raw, -40) == reign_here() then return string.sub(raw, 1, -41) end
return false
