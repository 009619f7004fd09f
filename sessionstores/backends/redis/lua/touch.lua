-- Mark a record as used, keep its index and session alive, and remove clients that were
-- silent for ten minutes (CLIENT_MEMORY in types.py).
-- ARGV: id; timeout; how, as in touch() of prelude.lua.
local id, timeout = ARGV[1], tonumber(ARGV[2])
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local time = now()
local touched, mend = touch(id, key, head, time, timeout, ARGV[3])
if touched == head and ARGV[3] ~= 'always' then return {'same', 0, head} end
for _, field in ipairs(call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'c:' then
    local entry = call('HGET', key, field)
    if #entry < 16 or struct.unpack('<d', entry) <= time - 600 then
      call('HDEL', key, field)
    end
  end
end
return {'same', mend, touched}
