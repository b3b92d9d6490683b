-- A record with one more expiry; the rules by which expiries are merged, and their reasons, stand in expiries.rs.
local function expired(raw, epoch, at)
    local list, now = {}, at
    for place = 17, #raw, 16 do
        local earlier, time = struct.unpack('>I8I8', raw, place)
        list[#list + 1] = { epoch = earlier, time = time }
        now = math.max(now, time)
    end
    list[#list + 1] = { epoch = epoch, time = at }
    local function merge(place)
        list[place + 1].time = math.min(list[place].time, list[place + 1].time)
        table.remove(list, place)
    end
    local function are_as_good_as_one(older, newer, following)
        if newer.time < older.time + 100 then return true end
        return following and now - older.time <= 2 * (now - following.time)
    end
    local place = 1
    while list[place + 1] do
        if are_as_good_as_one(list[place], list[place + 1], list[place + 2]) then merge(place) else place = place + 1 end
    end
    if #list > 32 then merge(1) end
    local parts = { string.sub(raw, 1, 16) }
    for _, expiry in ipairs(list) do parts[#parts + 1] = struct.pack('>I8I8', expiry.epoch, expiry.time) end
    return table.concat(parts)
end

-- Invalidates what has one of the tags ('hard'), makes it stale ('soft', at the time `now`), or invalidates everything ('all').
local function invalidate(names, what, limits, tags, now)
    local clock = clock_here(names.clock)
    if what == 'all' then
        anew(clock)
    else
        clock.epoch = later(clock.epoch)
        for _, tag in ipairs(tags) do
            local key = names.record .. tag
            -- A record that is missing is not created: it makes everything dead that has the tag.
            local raw = text(key)
            if marks(raw, clock.incarnation) then
                local raised = what == 'hard' and record(clock.incarnation, clock.epoch) or expired(raw, clock.epoch, now)
                redis.call('SET', key, raised, 'KEEPTTL')
            end
        end
    end
    announce(clock, names, what, limits, tags)
    return reading(clock)
end
