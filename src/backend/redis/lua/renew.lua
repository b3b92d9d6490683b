-- KEYS: clock. Begins a new incarnation.
local clock = current_clock(KEYS[1])
begin_incarnation(clock)
set_clock(KEYS[1], clock)
return reading(clock)
