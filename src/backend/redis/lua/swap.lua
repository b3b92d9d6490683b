-- KEYS: record. ARGV: what must be there, if anything; what is to be there, its life in milliseconds.
local node = redis.call('CLUSTER', 'MYID')
local raw = redis.pcall('GET', KEYS[1])
local present = ''
if type(raw) == 'string' and string.sub(raw, -40) == node then present = string.sub(raw, 1, -41) end
if present ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. node, 'PX', ARGV[3])
return 1
