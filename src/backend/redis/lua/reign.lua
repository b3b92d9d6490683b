-- A reign is a server as long as it is the primary. Its history of replication has a name of its own, which changes with a restart and
-- with a promotion, and never comes again.
local function reign_here()
    return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

