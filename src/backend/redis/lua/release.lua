-- KEYS: fetch lock. ARGV: token of its owner. Deletes the lock if it has this token.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
