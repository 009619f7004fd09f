-- Return one line of the overview: label; keep; locked; activity; times (now, created,
-- last use, last use of the longest unused participant who is neither connected nor
-- kept; if kept ones are all there are, now), packed;
-- {participants, online, connections, records that were lost}; bytes in all; {id of the
-- largest record, its bytes}.
local time, key = now(), base .. 's:'
local live = live_connections(time)
local about = {false, false, false, false}
local created, seen, bytes, lost = 0, 0, 0, 0
local oldest, waits
local kept = kept_until()
local largest, most = '*', 0
local head, corrupt = head_of(key)
if head then
  created, seen, bytes = struct.unpack('<ddd', head, 13)
  most = bytes
  about = call('HMGET', key, 'n', 'k', 'l', 'a')
elseif not corrupt then
  lost = 1
end
local ids = call('ZRANGE', base .. 'i:', 0, -1)
for _, id in ipairs(ids) do
  local front, unreadable = head_of(base .. 'p:' .. id)
  if front then
    local _, used, size = struct.unpack('<ddd', front, 13)
    seen = math.max(seen, used)
    bytes = bytes + size
    if size > most or largest == '*' and size == most and not head then
      largest, most = id, size
    end
    if live[id] then
      used = nil
    elseif kept > time
      and has_changed(front, call('HGET', base .. 'p:' .. id, 'u')) then
      used, waits = nil, true
    end
    if used and (not oldest or used < oldest) then oldest = used end
  elseif not unreadable then
    lost = lost + 1
  end
end
local online, connections = 0, 0
for _, count in pairs(live) do
  online = online + 1
  connections = connections + count
end
return {
  about[1], about[2], about[3], about[4],
  struct.pack('<dddd', time, created, seen, oldest or waits and time or seen),
  {#ids, online, connections, lost}, bytes, {largest, most},
}
