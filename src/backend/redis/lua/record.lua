-- KEYS: record. What it says, if this node wrote it: one that another wrote, before a failover, may lack what was invalidated last.
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'string' and string.sub(raw, -40) == redis.call('CLUSTER', 'MYID') then return string.sub(raw, 1, -41) end
return false
