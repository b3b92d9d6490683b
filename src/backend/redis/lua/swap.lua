-- KEYS: record. ARGV: expected record, empty if it must be missing; new record, its time to live in milliseconds. Returns 1 if the record
-- was replaced.
local primary = primary_id()
local present = get_string('GET', KEYS[1]) or ''
if string.sub(present, -40) == primary then present = string.sub(present, 1, -41) end
if present ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. primary, 'PX', ARGV[3])
return 1
