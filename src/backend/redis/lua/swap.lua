-- KEYS: record. ARGV: what must be there, if anything; what is to be there, its life in milliseconds.
local reign = reign_here()
local raw = redis.call('GET', KEYS[1])
local present = ''
if raw and string.sub(raw, -40) == reign then present = string.sub(raw, 1, -41) end
if present ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. reign, 'PX', ARGV[3])
return 1
