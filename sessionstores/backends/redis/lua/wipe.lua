-- Remove the session's states, and go on from a new rev; its clients stay.
-- ARGV: rev; timeout. Returns what was removed, false if there was nothing.
local key = base .. 's:'
local head, corrupt = head_of(key)
if not head and not corrupt then return false end
local rev, time, timeout = ARGV[1], now(), tonumber(ARGV[2])
local fields = false
if head then
  fields = call('HGETALL', key)
  local names = {}
  for at = 1, #fields, 2 do
    if string.sub(fields[at], 1, 2) == 's:' then names[#names + 1] = fields[at] end
  end
  if #names == 0 then return false end
  call('HDEL', key, unpack(names))
  call('HSET', key, 'h', string.sub(rev, 1, 12) .. string.sub(head, 13, 28)
    .. struct.pack('<d', 0) .. string.sub(rev, 13))
  expire_session(head, time, timeout)
else
  call('DEL', key)
  create('*', rev, time, timeout, {})
end
return {'*', fields, followers_of('*', time)}
