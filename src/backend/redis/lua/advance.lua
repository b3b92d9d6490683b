-- KEYS: clock. Advances the clock to the next epoch.
local clock = current_clock(KEYS[1])
clock.epoch = next_epoch(clock.epoch)
set_clock(KEYS[1], clock)
return reading(clock)
