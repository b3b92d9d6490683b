-- Runs a command that reads the string under a key. Returns it, or false if the key is missing or has a value of another type. Any other
-- error, such as a missing permission, ends the script with the words of the server.
local function get_string(...)
    local raw = redis.pcall(...)
    if type(raw) == 'table' and not string.find(raw.err, 'WRONGTYPE', 1, true) then redis.call(...) end
    return type(raw) == 'string' and raw
end

