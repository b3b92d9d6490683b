-- Invalidates what has one of the tags ('hard'), makes it stale ('soft'), or invalidates everything ('all').
local function invalidate(names, what, limits, tags)
    local clock = clock_here(names.clock)
    if what == 'all' then
        anew(clock)
    else
        clock.epoch = later(clock.epoch)
        for _, tag in ipairs(tags) do
            local key = names.record .. tag
            -- A record that is missing is not created: it makes everything dead that has the tag.
            local hard, soft = marks(text(key), clock.incarnation)
            if hard then
                if what == 'hard' then hard = clock.epoch else soft = clock.epoch end
                redis.call('SET', key, record(clock.incarnation, hard, soft), 'KEEPTTL')
            end
        end
    end
    announce(clock, names, what, limits, tags)
    return reading(clock)
end
