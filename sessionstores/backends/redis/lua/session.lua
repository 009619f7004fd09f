-- Change the session's details, and return them, last until when it keeps participants
-- if that has changed, else ''.
-- ARGV: '=' and label; keep; locked; seconds for which to keep it at least from now on;
-- timeout. Each of the first four may be '': leave it as it is.
local key = base .. 's:'
if call('EXISTS', base .. 't:') == 1 then return {'absent'} end
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local fields, kept_before = {}, kept_until()
for at, name in ipairs({'n', 'k', 'l'}) do
  local value = ARGV[at]
  if value ~= '' then
    fields[#fields + 1] = name
    -- A label may be empty, so a mark comes before it.
    fields[#fields + 1] = name == 'n' and string.sub(value, 2) or value
  end
end
if ARGV[4] ~= '' then
  local kept = now() + tonumber(ARGV[4]) - struct.unpack('<d', head, 13)
  local keep = tonumber(ARGV[2]) or tonumber(call('HGET', key, 'k')) or 0
  fields[#fields + 1] = 'k'
  fields[#fields + 1] = string.format('%.17g', math.max(keep, kept))
end
if #fields > 0 then
  call('HSET', key, unpack(fields))
  expire_session(head, now(), tonumber(ARGV[5]))
end
local known = call('HMGET', key, 'n', 'k', 'l', 'p')
local kept = kept_until()
return {'session', head, known, call('LRANGE', base .. 'e:', 0, -1),
  kept ~= kept_before and exactly(kept) or ''}
