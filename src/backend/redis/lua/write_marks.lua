-- The marks of a tag that is being written are one string: of each writer its number (8 bytes), and until when it holds the tag, in
-- milliseconds of the server's time (8).

local function now_millis()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Returns until when the latest writer holds a tag, 0 if the marks are malformed, or nil if nobody has marked it.
local function held_until(raw)
    if not raw or raw == '' then return nil end
    local latest = 0
    if #raw % 16 ~= 0 then return latest end
    for place = 9, #raw, 16 do latest = math.max(latest, (struct.unpack('>I8', raw, place))) end
    return latest
end
