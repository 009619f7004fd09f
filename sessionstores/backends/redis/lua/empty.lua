-- Remove the session if it has no participant, is idle and is past its keep.
-- ARGV: seconds from which idle; timeout. Returns {'gone', ''}, {'absent', ''}, or {'stays',
-- score for the registry (see registry.py), '' if unknown}.
local idle_for = tonumber(ARGV[1])
if call('ZCARD', base .. 'i:') > 0 then return {'stays', next_look(tonumber(ARGV[2]))} end
local key = base .. 's:'
local head, corrupt = head_of(key)
if corrupt then return {'stays', ''} end
if not head then
  call('DEL', base .. 'e:', base .. 'x:')
  return {'absent', ''}
end
local time = now()
local created, seen = struct.unpack('<dd', head, 13)
if seen > time - idle_for then
  return {'stays', string.format('%.17g', seen)}
end
local kept = created + (tonumber(call('HGET', key, 'k')) or 0)
if time < kept then return {'stays', string.format('%.17g', -kept)} end
call('DEL', key, base .. 'e:', base .. 'x:')
return {'gone', ''}
