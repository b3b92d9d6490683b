-- KEYS: clock, stream, mode. ARGV: position up to which messages were applied, maximum bytes to return, maximum bytes to be behind. Returns the
-- later messages, or none if the caller is too far behind, and the mode of all nodes.
local clock = current_clock(KEYS[1])
local last = tonumber(ARGV[1])
local behind = clock.sequence - last
local messages = {}
if behind > 0 and behind <= tonumber(ARGV[3]) then
    messages = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', last + 1), string.format('%.0f-0', last + ARGV[2]))
end
return { reading(clock), messages, get_string('GET', KEYS[3]) }
