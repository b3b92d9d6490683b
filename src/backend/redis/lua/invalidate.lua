-- KEYS: clock, stream. ARGV: what ('hard', 'soft' or 'all'), prefix of records, length of the stream, its life in seconds, tags.
local clock = clock_here(KEYS[1])
local what, prefix = ARGV[1], ARGV[2]
if what == 'all' then
    anew(clock)
else
    clock.epoch = later(clock.epoch)
    for i = 5, #ARGV do
        local key = prefix .. ARGV[i]
        -- A record that is missing is not created: it makes everything dead that has the tag.
        local hard, soft = marks(redis.call('GET', key), clock.incarnation)
        if hard then
            if what == 'hard' then hard = clock.epoch else soft = clock.epoch end
            redis.call('SET', key, record(clock.incarnation, hard, soft), 'KEEPTTL')
        end
    end
end
announce(clock, KEYS[1], KEYS[2], what, ARGV[3], ARGV[4], 5)
return reading(clock)
