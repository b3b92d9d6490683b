-- KEYS: clock. Reads the clock, after a look at which server this is; the server's major version stands behind it.
local clock = current_clock(KEYS[1])
return reading(clock) .. string.char(clock.version)
