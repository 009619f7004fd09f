-- Mark a record as used, keep its index and session alive, and remove clients that were
-- silent for ten minutes (CLIENT_MEMORY in types.py).
-- ARGV: id; timeout; '1': only if a touch is due.
local id, timeout = ARGV[1], tonumber(ARGV[2])
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local time = now()
if ARGV[3] == '1' and not is_due(head, time, timeout) then return {'same', 0, head} end
head = with_seen(head, time)
call('HSET', key, 'h', head)
expire_record(id, head, time, timeout)
for _, field in ipairs(call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'c:' then
    local entry = call('HGET', key, field)
    if #entry < 16 or struct.unpack('<d', entry) <= time - 600 then
      call('HDEL', key, field)
    end
  end
end
return {'same', refresh(id, time, timeout), head}
