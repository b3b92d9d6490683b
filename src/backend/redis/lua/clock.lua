-- The clock is one string: term (8 bytes), incarnation (8), epoch (8), length of all published messages (8), primary id (40), the
-- sentinels' config epoch (8), and the terms that it continues, the latest first: each is a term (8) and the epoch up to which this
-- clock includes it (8). The primary id identifies a server while it is the primary: it changes with a restart and with a failover.
-- `seen`, which precedes this code, is the latest clock that the calling node observed on any server: a term (8) and an epoch (8);
-- then the config epoch by which the sentinels directed the node to this server (8), 0 without sentinels.
-- A record is one string: incarnation (8), hard epoch (8), and the later expiries, the oldest first: epoch (8), milliseconds (8).

-- Returns whether a number is small enough to differ from its successor in Lua. larder never writes a larger one.
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

-- Returns whether the clock includes everything that happened in a term up to an epoch.
local function covers(clock, term, epoch)
    if term == clock.term then return epoch <= clock.epoch end
    for at = 1, #clock.past, 16 do
        local past, up_to = struct.unpack('>c8I8', clock.past, at)
        if past == term then return epoch <= up_to end
    end
    return false
end

-- Makes the next incarnation of the clock continue a term up to an epoch.
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

-- Returns the clock of this primary. A clock may have lost invalidations if it is missing, if it was last written under another primary id
-- (before a failover or a restart), or if it lacks what a node has observed (on another primary, or before the data were rolled back).
-- Such a clock begins a new incarnation, and every earlier entry is dead.
local function current_clock(name)
    local server = redis.call('INFO', 'server')
    local run, version = string.match(server, 'run_id:(%x+)'), string.match(server, 'redis_version:(%d+%.%d+)')
    local primary_id = redis.sha1hex(run .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'))
    local clock = { epoch = 0, sequence = 0, primary_id = primary_id, rule = 0, past = '', version = version }
    local term, epoch, rule
    if #seen == 24 then term, epoch, rule = struct.unpack('>c8I8I8', seen) else epoch, rule = 0, 0 end
    -- Larger epochs are ignored: larder cannot have written them, and too few numbers would be left.
    local has_seen = epoch > 0 and epoch < 9000000000000000
    local raw = get_string('GET', name)
    if raw and #raw >= 80 and #raw % 16 == 0 then
        local written
        clock.term, clock.incarnation, clock.epoch, clock.sequence, written, clock.rule = struct.unpack('>c8c8I8I8c40I8', raw)
        clock.past = string.sub(raw, 81)
        if not (is_in_range(clock.epoch) and is_in_range(clock.sequence) and is_in_range(clock.rule)) then
            clock.epoch, clock.sequence, clock.rule = 0, 0, 0
        elseif written == primary_id and rule <= clock.rule then
            if not has_seen or covers(clock, term, epoch) then return clock end
            -- The same primary continues, after the invalidations that it lacks.
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

-- Returns the hard epoch of a record and the epoch of its latest expiry, or nil if the record is missing, malformed, or belongs to another
-- incarnation.
local function marks(raw, incarnation)
    if not raw or #raw < 16 or #raw > 16 + 16 * 32 or #raw % 16 ~= 0 or string.sub(raw, 1, 8) ~= incarnation then return nil end
    local hard = struct.unpack('>I8', raw, 9)
    return hard, #raw > 16 and struct.unpack('>I8', raw, #raw - 15) or 0
end

local function reading(clock)
    return struct.pack('>c8c8I8I8', clock.term, clock.incarnation, clock.epoch, clock.sequence)
end

-- Returns the arguments from this position on.
local function arguments(first)
    local list = {}
    for i = first, #ARGV do list[#list + 1] = ARGV[i] end
    return list
end

-- Returns the tags as one string, each preceded by its length, or nil if there are so many that near tiers should drop all copies.
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

-- Publishes an invalidation for near tiers, and stores the clock. An invalidation of very many tags is published as one of everything. The
-- id of a message is the length of all messages up to its end, and each message is 64 bytes longer than its tags: so a near tier notices
-- that messages are missing, and the number of bytes to read is known before they are read.
local function publish(clock, names, kind, limits, tags)
    local body = pack_tags(tags)
    if not body then kind, body = 'all', '' end
    clock.sequence = clock.sequence + 64 + #body
    set_clock(names.clock, clock)
    local id, oldest = string.format('%.0f-0', clock.sequence), string.format('%.0f-0', math.max(clock.sequence - limits.bytes, 0))
    local message = { 'XADD', names.stream, 'MINID', '~', oldest, id, 'w', kind, 't', body }
    local added = redis.pcall(unpack(message))
    if type(added) == 'table' and added.err then
        -- The stream belongs to another clock, or the key has another type. Near tiers notice that the stream begins again.
        redis.call('DEL', names.stream)
        redis.call(unpack(message))
    end
    redis.call('EXPIRE', names.stream, limits.life)
end
