-- KEYS: clock, stream. ARGV: what, prefix of records, bytes of the stream to keep, its life in seconds, tags.
local names = { clock = KEYS[1], stream = KEYS[2], record = ARGV[2] }
return invalidate(names, ARGV[1], { bytes = ARGV[3], life = ARGV[4] }, arguments(5))
