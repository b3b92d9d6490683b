-- KEYS: clock. Takes the next epoch.
local clock = clock_here(KEYS[1])
clock.epoch = later(clock.epoch)
set_clock(KEYS[1], clock)
return reading(clock)
