-- KEYS: clock. ARGV: prefix of records, their time to live in milliseconds, tags. Creates the missing records, and returns the clock.
local clock = current_clock(KEYS[1])
for i = 3, #ARGV do
    local key = ARGV[1] .. ARGV[i]
    if not marks(get_string('GET', key), clock.incarnation) then
        redis.call('SET', key, record(clock.incarnation, clock.epoch), 'PX', ARGV[2])
    end
end
return reading(clock)
