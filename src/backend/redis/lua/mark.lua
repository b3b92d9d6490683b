-- KEYS: clock. ARGV: kind, number of the writer, time, time to live of marks in milliseconds, prefix of marks, tags. Changes the marks of each
-- tag: 'hold' sets that of the writer to end after this time, 'release' removes it, and 'lapsed' removes those that had ended at this time.
local clock = current_clock(KEYS[1])
local kind, writer, time, life, prefix = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local until_then = now_millis() + time
for i = 6, #ARGV do
    local key = prefix .. ARGV[i]
    local raw = get_string('GET', key) or ''
    if #raw % 16 ~= 0 then raw = '' end
    local marks, is_there = {}, false
    for place = 1, #raw, 16 do
        local of, ends = struct.unpack('>c8I8', raw, place)
        if of == writer and kind == 'hold' then
            is_there, ends = true, until_then
        end
        if not ((of == writer and kind == 'release') or (kind == 'lapsed' and ends <= time)) then
            marks[#marks + 1] = { of, ends }
        end
    end
    if kind == 'hold' and not is_there then
        -- The writers beyond the limit share the last mark, which nobody releases.
        if #marks < 32 then marks[#marks + 1] = { writer, until_then }
        else marks[32] = { string.rep('\0', 8), math.max(marks[32][2], until_then) } end
    end
    local parts = {}
    for at, mark in ipairs(marks) do parts[at] = struct.pack('>c8I8', mark[1], mark[2]) end
    if #parts == 0 then redis.call('DEL', key) else redis.call('SET', key, table.concat(parts), 'PX', life) end
end
return reading(clock)
