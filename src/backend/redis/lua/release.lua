-- KEYS: fetch lock. ARGV: token of its node, with which those of its attempts begin. Deletes the lock if this node holds it.
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
