-- Returns the id of this node while it is the primary of its slots: it changes with a restart and with a failover.
local function primary_id()
    return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

