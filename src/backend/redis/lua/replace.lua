-- KEYS: entry. ARGV: the beginning of the expected entry, the new entry, its time to live in milliseconds. Returns 1 if the entry was replaced.
-- An entry begins with its head, at fixed offsets: with a random id and its epoch, which no other entry has. Records of tags are not
-- looked at: each read does that, and the new entry has the epoch and the tags of the one that it replaces.
if string.sub(get_string('GET', KEYS[1]) or '', 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
