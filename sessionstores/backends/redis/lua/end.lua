-- Write the tombstone. ARGV: seconds to keep it. Returns the ids of all participants.
call('SET', base .. 't:', now(), 'PX', math.ceil(tonumber(ARGV[1]) * 1000))
return call('ZRANGE', base .. 'i:', 0, -1)
