-- KEYS: clock, entry. ARGV: prefix of records, their life, head, body, life of the entry; lives in milliseconds.
local clock = clock_here(KEYS[1])
local prefix, record_life, head = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if string.sub(head, 11, 18) ~= clock.incarnation then return 'D' end
local born, tags, at = struct.unpack('>I8I2', head, 19)
local stale = false
for _ = 1, tags do
    local tag
    tag, at = struct.unpack('>I2c0', head, at)
    local key = prefix .. tag
    local hard, soft = marks(redis.call('GET', key), clock.incarnation)
    if not hard then
        -- With the epoch of now, not of the fetch: what was invalidated meanwhile, and its record lost, must not live again.
        hard, soft = clock.epoch, clock.epoch
        redis.call('SET', key, record(clock.incarnation, hard, soft), 'PX', record_life)
    elseif redis.call('PTTL', key) < tonumber(ARGV[5]) then
        redis.call('PEXPIRE', key, record_life)
    end
    if hard > born then return 'D' end
    stale = stale or soft > born
end
if stale then
    -- Expired on its way: better than nothing, but not than what was fetched since.
    local present = redis.pcall('HGET', KEYS[2], 'h')
    if type(present) == 'string' and string.sub(present, 11, 18) == clock.incarnation
        and struct.unpack('>I8', present, 19) > born then return 'D' end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'h', head, 'b', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 'K'
