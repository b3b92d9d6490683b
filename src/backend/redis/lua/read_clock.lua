-- KEYS: clock, mode. Returns the clock of this primary, followed by the version of the server, and the mode of all nodes.
local clock = current_clock(KEYS[1])
return { reading(clock) .. clock.version, get_string('GET', KEYS[2]) }
