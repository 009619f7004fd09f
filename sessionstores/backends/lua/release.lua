-- id, connection as <id>/<connection>, process, for how long it may come back (0: it
-- will not), how long entries are kept; then the records that it alone followed.
-- 1: it was the participant's last.
local id, name, process = ARGV[1], ARGV[2], ARGV[3]
local grace, time = tonumber(ARGV[4]), now()
for at = 6, #ARGV do
  local entries = entries_but(ARGV[at], {[process] = true}, time)
  if #entries > 0 then
    call('HSET', base .. 'f:', ARGV[at], table.concat(entries))
  else
    call('HDEL', base .. 'f:', ARGV[at])
  end
end
if not call('ZSCORE', base .. 'c:', name) then return 0 end
if grace == 0 then return disconnect(id, name) and 1 or 0 end
call('ZADD', base .. 'c:', time + grace, name)
call('SADD', base .. 'g:', name)
expire(base .. 'g:', tonumber(ARGV[5]))
return 0
