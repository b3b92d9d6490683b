-- KEYS: clock, leases. ARGV: span of the lease, for how long the node may have such a lease, both in milliseconds.
local clock = current_clock(KEYS[1])
local list, now = leases_in_use(KEYS[2])
local span, latest = tonumber(ARGV[1]), now + ARGV[2]
local parts = { struct.pack('>I8I8', span, latest) }
for _, lease in ipairs(list) do
    latest = math.max(latest, lease.ends)
    if lease.span ~= span then parts[#parts + 1] = struct.pack('>I8I8', lease.span, lease.ends) end
end
redis.call('SET', KEYS[2], table.concat(parts), 'PX', string.format('%.0f', latest - now))
return reading(clock)
