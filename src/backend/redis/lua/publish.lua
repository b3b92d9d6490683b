-- KEYS: clock, stream. ARGV: what ('hard', 'soft' or 'all'), length of the stream, its life in seconds, tags. Takes the next epoch, and
-- announces what was invalidated.
local clock = clock_here(KEYS[1])
clock.epoch = later(clock.epoch)
announce(clock, { clock = KEYS[1], stream = KEYS[2] }, ARGV[1], { length = ARGV[2], life = ARGV[3] }, arguments(4))
return reading(clock)
