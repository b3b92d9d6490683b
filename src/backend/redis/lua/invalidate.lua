-- Returns a record with one more expiry. The rules for merging expiries are explained in expiries.rs.
local function with_expiry(raw, epoch, at)
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
    local function can_merge(older, newer, following)
        if newer.time < older.time + 100 then return true end
        return following and now - older.time <= 2 * (now - following.time)
    end
    local place = 1
    while list[place + 1] do
        if can_merge(list[place], list[place + 1], list[place + 2]) then merge(place) else place = place + 1 end
    end
    if #list > 32 then merge(1) end
    local parts = { string.sub(raw, 1, 16) }
    for _, expiry in ipairs(list) do parts[#parts + 1] = struct.pack('>I8I8', expiry.epoch, expiry.time) end
    return table.concat(parts)
end

-- Invalidates the entries with one of the tags ('hard'), makes them stale from the time `now` on ('soft'), or invalidates all ('all').
-- Returns the clock and the number of tags with a record.
local function invalidate(names, kind, limits, tags, now)
    local clock = current_clock(names.clock)
    local raised_count = 0
    if kind == 'all' then
        begin_incarnation(clock)
    else
        clock.epoch = next_epoch(clock.epoch)
        for _, tag in ipairs(tags) do
            local key = names.record .. tag
            -- A missing record is not created: without it, every entry with the tag is dead.
            local raw = get_string('GET', key)
            if marks(raw, clock.incarnation) then
                local raised = kind == 'hard' and record(clock.incarnation, clock.epoch) or with_expiry(raw, clock.epoch, now)
                redis.call('SET', key, raised, 'KEEPTTL')
                raised_count = raised_count + 1
            end
        end
    end
    publish(clock, names, kind, limits, tags)
    return reading(clock), raised_count
end
