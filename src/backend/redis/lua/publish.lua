-- KEYS: clock, stream. ARGV: what ('hard', 'soft' or 'all'), length of the stream, its life in seconds, tags. Takes the next epoch, and
-- announces what was invalidated.
local clock = clock_here(KEYS[1])
clock.epoch = later(clock.epoch)
announce(clock, KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], 4)
return reading(clock)
