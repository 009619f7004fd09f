-- Release a connection.
-- ARGV: id; connection as <id>/<connection>; process; seconds in which it may return,
-- 0 if it may not; seconds to keep entries; a token of this call; then the ids of the
-- records that it alone followed in its process.
-- Returns 1 if it was the participant's last, or if an earlier reply to this call said
-- so and was lost; else 0.
local id, name, process = ARGV[1], ARGV[2], ARGV[3]
local grace, time = tonumber(ARGV[4]), now()
for at = 7, #ARGV do
  local entries = entries_but(ARGV[at], {[process] = true}, time)
  if #entries > 0 then
    call('HSET', base .. 'f:', ARGV[at], table.concat(entries))
  else
    call('HDEL', base .. 'f:', ARGV[at])
  end
end
local marker = base .. 'b:' .. name
if not call('ZSCORE', base .. 'c:', name) then
  return call('GET', marker) == ARGV[6] and 1 or 0
end
if grace == 0 then
  if not disconnect(id, name) then return 0 end
  call('SET', marker, ARGV[6], 'PX', 3000)
  return 1
end
call('ZADD', base .. 'c:', time + grace, name)
call('SADD', base .. 'g:', name)
expire(base .. 'g:', tonumber(ARGV[5]))
return 0
