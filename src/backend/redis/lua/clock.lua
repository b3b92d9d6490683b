-- The clock is one string: term (8 bytes), incarnation (8), epoch (8), length of all announcements (8), reign (40), the sentinels' config
-- epoch (8), and the terms that it continues, the latest first: each a term (8) and the epoch up to which it is known here (8).
-- A reign is a server as long as it is the primary: it ends with a restart and with a failover. `seen`, which stands above this, is what
-- the node that runs the script has seen last, on whichever server: a term (8) and an epoch (8); and the config epoch by which the
-- sentinels sent it here (8), 0 if none did.
-- A record is one string: incarnation (8), hard epoch (8), and the expiries since, the oldest first: epoch (8), milliseconds (8).

-- The string under a key; nothing if there is none, or something else of somebody else's.
local function get_string(name)
    local raw = redis.pcall('GET', name)
    return type(raw) == 'string' and raw
end

-- Whether a number can be told from the next one: beyond that it came from nowhere here.
local function is_in_range(number)
    return number >= 0 and number < 9007199254740000
end

local function next_epoch(epoch)
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    return now > epoch and now or epoch + 1
end

local function set_clock(name, clock)
    local head = struct.pack('>c8c8I8I8', clock.term, clock.incarnation, clock.epoch, clock.sequence)
    redis.call('SET', name, head .. clock.primary_id .. struct.pack('>I8', clock.rule) .. clock.past)
end

local function begin_incarnation(clock)
    local time = redis.call('TIME')
    local hash = redis.sha1hex(clock.primary_id .. time[1] .. '.' .. time[2] .. '.' .. clock.epoch .. (clock.incarnation or ''))
    local function bytes(at)
        return struct.pack('>I4I4', tonumber(string.sub(hash, at, at + 7), 16), tonumber(string.sub(hash, at + 8, at + 15), 16))
    end
    clock.incarnation = bytes(1)
    clock.epoch = next_epoch(clock.epoch)
    return bytes(17)
end

-- Whether all that the clock has shown in a term, up to an epoch, came before what it shows now.
local function covers(clock, term, epoch)
    if term == clock.term then return epoch <= clock.epoch end
    for at = 1, #clock.past, 16 do
        local past, up_to = struct.unpack('>c8I8', clock.past, at)
        if past == term then return epoch <= up_to end
    end
    return false
end

-- From the next incarnation on, the clock comes after this.
local function continue_from(clock, term, epoch)
    if epoch > clock.epoch then clock.epoch = epoch end
    if term == clock.term then return end
    local past = struct.pack('>c8I8', term, epoch)
    for at = 1, #clock.past, 16 do
        if #past < 8 * 16 and string.sub(clock.past, at, at + 7) ~= term then
            past = past .. string.sub(clock.past, at, at + 15)
        end
    end
    clock.past = past
end

-- The clock as it may be used in this reign. One that is missing, that was written last in another reign (before a failover, or a restart
-- from disk), or that lacks what a node has seen (on a server that ruled in between, or before the data went back) may have lost what
-- was invalidated: it begins anew, and whatever was born before is dead.
local function current_clock(name)
    local server = redis.call('INFO', 'server')
    local run, version = string.match(server, 'run_id:(%x+)'), string.match(server, 'redis_version:(%d+)')
    local primary_id = redis.sha1hex(run .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'))
    local clock = { epoch = 0, sequence = 0, primary_id = primary_id, rule = 0, past = '', version = tonumber(version) }
    local term, epoch, rule
    if #seen == 24 then term, epoch, rule = struct.unpack('>c8I8I8', seen) else epoch, rule = 0, 0 end
    -- What is near the end of numbers came from nowhere here, and would leave none to continue with.
    local has_seen = epoch > 0 and epoch < 9000000000000000
    local raw = get_string(name)
    if raw and #raw >= 80 and #raw % 16 == 0 then
        local written
        clock.term, clock.incarnation, clock.epoch, clock.sequence, written, clock.rule = struct.unpack('>c8c8I8I8c40I8', raw)
        clock.past = string.sub(raw, 81)
        if not (is_in_range(clock.epoch) and is_in_range(clock.sequence) and is_in_range(clock.rule)) then
            clock.epoch, clock.sequence, clock.rule = 0, 0, 0
        elseif written == primary_id and rule <= clock.rule then
            if not has_seen or covers(clock, term, epoch) then return clock end
            -- The same server goes on, after what it lacks.
            continue_from(clock, term, epoch)
            begin_incarnation(clock)
            set_clock(name, clock)
            return clock
        end
    end
    local last = clock.term
    if last then
        clock.term = nil
        continue_from(clock, last, clock.epoch)
    end
    if has_seen and not covers(clock, term, epoch) then continue_from(clock, term, epoch) end
    if rule > clock.rule then clock.rule = rule end
    clock.term = begin_incarnation(clock)
    set_clock(name, clock)
    return clock
end

local function record(incarnation, hard)
    return struct.pack('>c8I8', incarnation, hard)
end

-- The hard epoch of a record, and that of its latest expiry; nothing if it is missing, foreign, or of another incarnation.
local function marks(raw, incarnation)
    if not raw or #raw < 16 or #raw > 16 + 16 * 32 or #raw % 16 ~= 0 or string.sub(raw, 1, 8) ~= incarnation then return nil end
    local hard = struct.unpack('>I8', raw, 9)
    return hard, #raw > 16 and struct.unpack('>I8', raw, #raw - 15) or 0
end

local function reading(clock)
    return struct.pack('>c8c8I8I8', clock.term, clock.incarnation, clock.epoch, clock.sequence)
end

-- The arguments from this one on.
local function arguments(first)
    local list = {}
    for i = first, #ARGV do list[#list + 1] = ARGV[i] end
    return list
end

-- The tags as one string, each behind its length; nothing if they are so many that near tiers do better without.
local function pack_tags(tags)
    if #tags > 500 then return nil end
    local parts, bytes = {}, 0
    for i, tag in ipairs(tags) do
        bytes = bytes + 2 + #tag
        if bytes > 16000 then return nil end
        parts[i] = struct.pack('>I2c0', #tag, tag)
    end
    return table.concat(parts)
end

-- Announces to near tiers what was invalidated, and stores the clock. Very many tags are announced as everything. The id of an
-- announcement is the length of all announcements up to its end, and each is 64 bytes longer than its tags: so a near tier notices
-- that it misses some, and how much there is to read is known without reading it.
local function publish(clock, names, kind, limits, tags)
    local body = pack_tags(tags)
    if not body then kind, body = 'all', '' end
    clock.sequence = clock.sequence + 64 + #body
    set_clock(names.clock, clock)
    local id, oldest = string.format('%.0f-0', clock.sequence), string.format('%.0f-0', math.max(clock.sequence - limits.bytes, 0))
    local message = { 'XADD', names.stream, 'MINID', '~', oldest, id, 'w', kind, 't', body }
    local added = redis.pcall(unpack(message))
    if type(added) == 'table' and added.err then
        -- The stream belongs to another clock, or is none: near tiers notice that it began again.
        redis.call('DEL', names.stream)
        redis.call(unpack(message))
    end
    redis.call('EXPIRE', names.stream, limits.life)
end
