-- For other programs, with the tags as written in the application:
--   FCALL larder_invalidate 0 PREFIX TAG…
--   FCALL larder_invalidate_in 0 PREFIX NAMESPACE TAG…
-- PREFIX is that of larder's keys, NAMESPACE that of Cache::with_namespace. They return the number of tags with a record, which every tag
-- of a usable entry has.
local function invalidate_tags(prefix, space, arguments, first)
    local slot = '{' .. prefix .. '}'
    local names = { clock = slot .. ':clock', stream = slot .. ':stream', record = prefix .. ':t:' }
    -- Without a clock, every entry is dead. So nothing is missed if the prefix was right, and a wrong one is noticed.
    if redis.call('EXISTS', names.clock) == 0 then
        return redis.error_reply('ERR larder has no clock at ' .. names.clock .. ': "' .. prefix .. '" is not the key prefix of a cache on this'
            .. ' server, or it stores nothing. For a namespace of Cache::with_namespace: FCALL larder_invalidate_in 0 PREFIX NAMESPACE TAG...')
    end
    local tags = {}
    for i = first, #arguments do tags[#tags + 1] = space .. 't:' .. arguments[i] end
    local _, raised = invalidate(names, 'hard', { bytes = @BYTES@, life = @LIFE@ }, tags)
    return raised
end

redis.register_function('larder_invalidate', function(_, arguments)
    if not arguments[2] then return redis.error_reply('ERR usage: FCALL larder_invalidate 0 PREFIX TAG...') end
    return invalidate_tags(arguments[1], '', arguments, 2)
end)

redis.register_function('larder_invalidate_in', function(_, arguments)
    local namespace = arguments[2]
    if not arguments[3] or namespace == '' then
        return redis.error_reply('ERR usage: FCALL larder_invalidate_in 0 PREFIX NAMESPACE TAG...')
    end
    return invalidate_tags(arguments[1], 'in:' .. #namespace .. ':' .. namespace .. ':', arguments, 3)
end)
