-- KEYS: clock, stream. ARGV: where the announcements end that were applied; how many bytes to return at most, and up to how many to
-- return any. What has been announced since; nothing to one who is too far behind.
local clock = current_clock(KEYS[1])
local last = tonumber(ARGV[1])
local behind = clock.sequence - last
local messages = {}
if behind > 0 and behind <= tonumber(ARGV[3]) then
    messages = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', last + 1), string.format('%.0f-0', last + ARGV[2]))
end
return { reading(clock), messages }
