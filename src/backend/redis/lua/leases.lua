-- The leases that nodes with near tiers use are one string: for each span in milliseconds (8 bytes), the time in milliseconds until which a
-- node may have such a lease (8). Times are those of the server.
local function leases_in_use(name)
    local raw, time, list = get_string('GET', name), redis.call('TIME'), {}
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if raw and #raw % 16 == 0 then
        for at = 1, #raw, 16 do
            local span, ends = struct.unpack('>I8I8', raw, at)
            if ends > now then list[#list + 1] = { span = span, ends = ends } end
        end
    end
    return list, now
end

-- Returns the longest span in use, in decimal; 0 without leases.
local function longest_lease(name)
    local longest = 0
    for _, lease in ipairs(leases_in_use(name)) do longest = math.max(longest, lease.span) end
    return string.format('%.0f', longest)
end
