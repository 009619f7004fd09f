-- Put the tombstone, and return whom there is to remove.
call('SET', base .. 't:', now(), 'PX', math.ceil(tonumber(ARGV[1]) * 1000))
return call('ZRANGE', base .. 'i:', 0, -1)
