-- KEYS: clock. Begins a new incarnation.
local clock = clock_here(KEYS[1])
anew(clock)
set_clock(KEYS[1], clock)
return reading(clock)
