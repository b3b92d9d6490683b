-- KEYS: clock, stream. ARGV: the last announcement that was applied, the most to return. What has been announced since.
local clock = clock_here(KEYS[1])
local last = tonumber(ARGV[1])
local messages = {}
if clock.sequence > last then
    local after = string.format('%.0f-0', last + 1)
    messages = redis.call('XRANGE', KEYS[2], after, '+', 'COUNT', ARGV[2])
end
return { reading(clock), messages }
