-- KEYS: clock. ARGV: '1' if this may be the first run on the server, the observed clock. Precedes each command on a connection that may be
-- moved to another server without notice. A server that restarts loses its scripts, and a promoted replica does not have them: the first
-- run checks the clock of the server, and later runs need not check it again. Each term of the clock has its own guard: @TERM@.
if ARGV[1] == '1' then
    local seen = ARGV[2]
@CLOCK@
    current_clock(KEYS[1])
end
return 1
