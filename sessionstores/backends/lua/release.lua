-- id, connection, process, then the records that it alone followed.
local name = ARGV[1] .. '/' .. ARGV[2]
call('ZREM', base .. 'c:', name)
call('HDEL', base .. 'd:', name)
for at = 4, #ARGV do
  local entries = entries_but(ARGV[at], {[ARGV[3]] = true}, now())
  if #entries > 0 then
    call('HSET', base .. 'f:', ARGV[at], table.concat(entries))
  else
    call('HDEL', base .. 'f:', ARGV[at])
  end
end
return 1
