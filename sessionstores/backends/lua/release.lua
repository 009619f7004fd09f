-- id, connection, process, then the records that it alone followed.
local name = ARGV[1] .. '/' .. ARGV[2]
call('ZREM', base .. 'c:', name)
call('HDEL', base .. 'd:', name)
for at = 4, #ARGV do call('ZREM', base .. 'f:' .. ARGV[at], ARGV[3]) end
return 1
