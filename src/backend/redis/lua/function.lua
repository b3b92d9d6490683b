-- For other programs: FCALL larder_invalidate 0 NAMESPACE TAG…, with the tags as written in the application.
redis.register_function('larder_invalidate', function(_, arguments)
    local namespace = arguments[1]
    if not namespace or not arguments[2] then return redis.error_reply('ERR usage: FCALL larder_invalidate 0 NAMESPACE TAG...') end
    local slot = '{' .. namespace .. '}'
    local names = { clock = slot .. ':clock', stream = slot .. ':stream', record = namespace .. ':t:' }
    local tags = {}
    for i = 2, #arguments do tags[i - 1] = 't:' .. arguments[i] end
    invalidate(names, 'hard', { bytes = @BYTES@, life = @LIFE@ }, tags)
    return #tags
end)
