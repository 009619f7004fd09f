-- Enter or renew leases, and touch the records of their participants.
-- ARGV: seconds of a lease; seconds to keep entries; timeout; then for each lease: id,
-- connection, details, process, '1' if its participant acted elsewhere, the number of
-- records it follows, and their ids.
-- Returns what to repair, as touch_session, then the ids of those who have joined.
local time, window = now(), tonumber(ARGV[1])
local life, timeout = tonumber(ARGV[2]), tonumber(ARGV[3])
local names, details, counts = base .. 'c:', base .. 'd:', base .. 'o:'
local leaving = base .. 'g:'
local any_leaving = call('EXISTS', leaving) == 1
local deadline = time + window
local followed, ids, joined = {}, {}, {}
local at = 4
while at <= #ARGV do
  local id, process, count = ARGV[at], ARGV[at + 3], tonumber(ARGV[at + 5])
  local name = id .. '/' .. ARGV[at + 1]
  local known = call('HGET', details, name)
  local since = known and string.sub(known, 1, 8) or struct.pack('<d', time)
  call('HSET', details, name, since .. ARGV[at + 2])
  if call('ZADD', names, deadline, name) == 1
    and call('HINCRBY', counts, id, 1) == 1 then joined[#joined + 1] = id end
  if any_leaving then call('SREM', leaving, name) end
  if ARGV[at + 4] == '1' then ids[id] = 'acted' end
  ids[id] = ids[id] or 'due'
  for place = at + 6, at + 5 + count do
    followed[ARGV[place]] = followed[ARGV[place]] or {}
    followed[ARGV[place]][process] = true
  end
  at = at + 6 + count
end
for _, key in ipairs({names, details, counts}) do expire(key, life) end
for record, processes in pairs(followed) do
  local entries = entries_but(record, processes, time)
  for process in pairs(processes) do
    entries[#entries + 1] = string.format('%.17g %s\n', deadline, process)
  end
  call('HSET', base .. 'f:', record, table.concat(entries))
end
expire(base .. 'f:', window)
local mend = 0
for id, how in pairs(ids) do
  local key = record_key(id)
  local head = head_of(key)
  if head then
    local _, found = touch(id, key, head, time, timeout, how)
    mend = math.max(mend, found)
  end
end
return {mend, unpack(joined)}
