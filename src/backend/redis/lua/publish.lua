-- KEYS: clock, stream, leases. ARGV: kind ('hard', 'soft' or 'all'), bytes of the stream to keep, its time to live in seconds, tags. Advances the
-- clock to the next epoch, and publishes the invalidation.
local clock = current_clock(KEYS[1])
clock.epoch = next_epoch(clock.epoch)
publish(clock, { clock = KEYS[1], stream = KEYS[2] }, ARGV[1], { bytes = ARGV[2], life = ARGV[3] }, arguments(4))
return reading(clock) .. longest_lease(KEYS[3])
