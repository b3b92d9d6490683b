-- KEYS: clock, entry. ARGV: prefix of records, their time to live, entry, its time to live, both in milliseconds, prefix of marks. Stores an
-- entry unless it is dead ('D'), or one of its tags is being written ('W'). If writers have not released tags in time, it returns 'L', the time,
-- and the tags. An entry begins with its head, at fixed offsets.
local clock = current_clock(KEYS[1])
local prefix, record_life, entry, life = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if string.sub(entry, 11, 18) ~= clock.incarnation then return 'D' end
local born, tags, at = struct.unpack('>I8I2', entry, 19)
local stale, now, lapsed = false, now_millis(), {}
for _ = 1, tags do
    local tag
    tag, at = struct.unpack('>I2c0', entry, at)
    local held = held_until(get_string('GET', ARGV[5] .. tag))
    if held and held > now then return 'W' end
    -- So few that they fit into the reply. Those of a later response settle the rest.
    if held and #lapsed < 40 then lapsed[#lapsed + 1] = tag end
    local key = prefix .. tag
    local hard, soft = marks(get_string('GET', key), clock.incarnation)
    if not hard then
        -- Created with the current epoch, not with that of the fetch: the tag may have been invalidated since, and its record evicted.
        hard, soft = clock.epoch, 0
        redis.call('SET', key, record(clock.incarnation, hard), 'PX', record_life)
    elseif redis.call('PTTL', key) < life then
        redis.call('PEXPIRE', key, record_life)
    end
    if hard > born then return 'D' end
    stale = stale or soft > born
end
if #lapsed > 0 then return 'L' .. struct.pack('>I8', now) .. (pack_tags(lapsed) or '') end
if stale then
    -- Expired while its handler ran: it is stored, but does not replace a newer response.
    local present = get_string('GETRANGE', KEYS[2], 0, 25)
    if present and #present == 26 and string.sub(present, 11, 18) == clock.incarnation
        and struct.unpack('>I8', present, 19) > born then return 'D' end
end
redis.call('SET', KEYS[2], entry, 'PX', life)
return 'K'
