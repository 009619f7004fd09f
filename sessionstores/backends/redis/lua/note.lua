-- Note events and changes of the session. ARGV: number of changes; the most events to
-- keep; events. Counts have two bytes each, one a minute; the last is of the minute
-- that field 'a' begins with.
if call('EXISTS', base .. 't:') == 1 then return 'absent' end
local key = base .. 's:'
local head, corrupt = head_of(key)
if corrupt then return 'corrupt' end
if not head then return 'absent' end
local changes = tonumber(ARGV[1])
if changes > 0 then
  local minute = math.floor(now() / 60)
  local held = call('HGET', key, 'a')
  local last, counts = minute, string.rep('\0', 60)
  if held and #held == 68 then
    last, counts = struct.unpack('<d', held), string.sub(held, 9)
  end
  local passed = math.min(math.max(minute - last, 0), 30)
  counts = string.sub(counts .. string.rep('\0\0', passed), -60)
  local latest = math.min(struct.unpack('<H', counts, 59) + changes, 65535)
  call('HSET', key, 'a', struct.pack('<d', math.max(minute, last))
    .. string.sub(counts, 1, 58) .. struct.pack('<H', latest))
end
if #ARGV > 2 then
  for at = 3, #ARGV do call('RPUSH', base .. 'e:', ARGV[at]) end
  call('LTRIM', base .. 'e:', -tonumber(ARGV[2]), -1)
  local left = call('PTTL', key)
  if left > 0 then call('PEXPIRE', base .. 'e:', left) end
end
return 'noted'
