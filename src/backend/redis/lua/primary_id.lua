-- The reign of this node over its slots: it ends with a restart and with a failover.
local function primary_id()
    return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

