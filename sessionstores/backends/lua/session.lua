-- What is known of the session, after changing it if told to: '' leaves label, keep
-- and locked as they are, and '' is no event. Timeout, and how many events to keep.
local key = base .. 's:'
if call('EXISTS', base .. 't:') == 1 then return {'absent'} end
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local fields = {}
for at, name in ipairs({'n', 'k', 'l'}) do
  local value = ARGV[at]
  if value ~= '' then
    fields[#fields + 1] = name
    -- A label may be empty, so it comes with a mark before it.
    fields[#fields + 1] = name == 'n' and string.sub(value, 2) or value
  end
end
if #fields > 0 then call('HSET', key, unpack(fields)) end
if ARGV[4] ~= '' then
  call('RPUSH', base .. 'e:', ARGV[4])
  call('LTRIM', base .. 'e:', -tonumber(ARGV[6]), -1)
end
if #fields > 0 or ARGV[4] ~= '' then
  expire_session(head, now(), tonumber(ARGV[5]))
end
local known = call('HMGET', key, 'n', 'k', 'l')
return {'session', head, known[1], known[2], known[3], call('LRANGE', base .. 'e:', 0, -1)}
