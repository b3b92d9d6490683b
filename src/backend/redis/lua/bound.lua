-- Reads that are bound to a term of the clock. Scripts are forgotten by a server that restarts, and never known to one that is
-- promoted; so the server that runs this one for the first time is looked at before it is trusted, and later runs need not look again.
-- KEYS: clock, entry. ARGV: '1' if this may be the first run, what, prefix of records, and for 'alive': born and tags.

local TERM = '@TERM@' -- the eight bytes of the clock's term, written as escapes

if ARGV[1] == '1' then clock_here(KEYS[1]) end
local raw = redis.call('GET', KEYS[1])
if not raw or #raw ~= 72 then return 'T' end
local clock, incarnation = string.sub(raw, 1, 32), string.sub(raw, 9, 16)
if string.sub(raw, 1, 8) ~= TERM then return 'T' end

local function judge(born, keys)
    local verdict = 'A'
    for _, raw in ipairs(redis.call('MGET', unpack(keys))) do
        local hard, soft = marks(raw, incarnation)
        if not hard or hard > born then return 'D' end
        if soft > born then verdict = 'S' end
    end
    return verdict
end

local what, prefix = ARGV[2], ARGV[3]

if what == 'clock' then return 'A' .. clock end

if what == 'alive' then
    if string.sub(ARGV[4], 1, 8) ~= incarnation then return 'D' .. clock end
    local keys = {}
    for i = 5, #ARGV do keys[i - 4] = prefix .. ARGV[i] end
    if #keys == 0 then return 'A' .. clock end
    return judge(struct.unpack('>I8', ARGV[4], 9), keys) .. clock
end

local head = redis.pcall('HGET', KEYS[2], 'h')
if not head then return 'M' .. clock end
if type(head) ~= 'string' or string.sub(head, 1, 2) ~= 'L\1' then return 'C' .. clock end

local function judge_entry()
    if string.sub(head, 11, 18) ~= incarnation then return 'D' end
    local born, tags, at = struct.unpack('>I8I2', head, 19)
    local keys = {}
    for i = 1, tags do
        local tag
        tag, at = struct.unpack('>I2c0', head, at)
        keys[i] = prefix .. tag
    end
    return tags == 0 and 'A' or judge(born, keys)
end

local whole, verdict = pcall(judge_entry)
if not whole then return 'C' .. clock end
if verdict == 'D' then return 'D' .. clock end
return verdict .. clock .. head
