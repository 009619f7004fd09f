-- Window and timeout, then for each lease: id, connection, details, process, how many
-- records it follows, and these. Returns what there is to mend, as touch_session.
local time, window, timeout = now(), tonumber(ARGV[1]), tonumber(ARGV[2])
local names, details, deadline = base .. 'c:', base .. 'd:', time + window
local past = string.format('%.17g', time)
for _, name in ipairs(call('ZRANGEBYSCORE', names, '-inf', past)) do
  call('HDEL', details, name)
end
call('ZREMRANGEBYSCORE', names, '-inf', past)
local followed, ids = {}, {}
local at = 3
while at <= #ARGV do
  local id, process, count = ARGV[at], ARGV[at + 3], tonumber(ARGV[at + 4])
  local name = id .. '/' .. ARGV[at + 1]
  call('ZADD', names, deadline, name)
  call('HSET', details, name, ARGV[at + 2])
  ids[id] = true
  for place = at + 5, at + 4 + count do
    followed[ARGV[place]] = followed[ARGV[place]] or {}
    followed[ARGV[place]][process] = true
  end
  at = at + 5 + count
end
expire(names, window)
expire(details, window)
for record, processes in pairs(followed) do
  local entries = entries_but(record, processes, time)
  for process in pairs(processes) do
    entries[#entries + 1] = string.format('%.17g %s\n', deadline, process)
  end
  call('HSET', base .. 'f:', record, table.concat(entries))
end
expire(base .. 'f:', window)
local mend = 0
for id in pairs(ids) do
  local key = record_key(id)
  local head = head_of(key)
  if head then
    local _, found = touch(id, key, head, time, timeout)
    mend = math.max(mend, found)
  end
end
return mend
