-- KEYS: clock. ARGV: '1' if this may be the first run, what was seen. For connections of which nobody tells when they lead to another
-- server. Scripts are forgotten by a server that restarts, and unknown to one that is promoted: whoever runs this one for the first
-- time is looked at, and later runs need not look again. Each term of the clock has a guard of its own: @TERM@.
if ARGV[1] == '1' then
    local seen = ARGV[2]
@CLOCK@
    current_clock(KEYS[1])
end
return 1
