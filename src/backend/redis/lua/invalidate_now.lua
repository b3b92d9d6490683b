-- KEYS: clock, stream, leases. ARGV: kind, time in milliseconds, prefix of records, bytes of the stream to keep, its time to live in seconds, tags.
local names = { clock = KEYS[1], stream = KEYS[2], record = ARGV[3] }
local answer = invalidate(names, ARGV[1], { bytes = ARGV[4], life = ARGV[5] }, arguments(6), tonumber(ARGV[2]))
return answer .. longest_lease(KEYS[3])
