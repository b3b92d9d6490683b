-- KEYS: fetch lock. ARGV: token of this attempt, life in milliseconds. Returns 1 if this attempt holds the lock: it may be sent twice.
local held = redis.call('GET', KEYS[1])
if held then return held == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
