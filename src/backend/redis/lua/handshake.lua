-- KEYS: clock. Returns the clock of this primary, followed by the version of the server, such as 7.0.
local clock = current_clock(KEYS[1])
return reading(clock) .. clock.version
