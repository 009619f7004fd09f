-- Change who a participant is, and return it.
-- ARGV: id; timeout; 'set' to replace what is given, 'join' to do so but for a role that
-- there is, 'fill' for what there is not; name, role and user, '' if it is not given,
-- else '=' and it. Returns {'absent'}, {'corrupt'} or {'profile', name, role, user}.
local id, timeout, how = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local held, given = profile_of(key), {}
for at = 1, 3 do
  local value = part(ARGV[3 + at])
  if how == 'fill' and held[at] then value = nil end
  if how == 'join' and at == 2 and (held[at] or '') ~= '' then value = nil end
  given[at] = value or false
end
local fields = profile_fields(key, head, given)
if #fields > 0 then
  local time = now()
  call('HSET', key, unpack(fields))
  expire_record(id, head, time, timeout, kept_until())
end
return {'profile', unpack(profile_of(key), 1, 3)}
