-- Keep an id out no longer. ARGV: id.
-- Returns whether it was kept out, -1 if there is no session.
if call('EXISTS', base .. 't:') == 1 or not is_founded() then return -1 end
return call('HDEL', base .. 'x:', ARGV[1])
