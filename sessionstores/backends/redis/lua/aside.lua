-- Move what stands at a record's key and is no record to the key given, for so long;
-- so too what is of another type than the session's other keys are. 1: there was such.
local aside, moved = base .. ARGV[2], 0
local function move(key, to)
  call('RENAME', key, to)
  expire(to, tonumber(ARGV[3]))
  moved = 1
end
local key = record_key(ARGV[1])
local _, corrupt = head_of(key)
if corrupt then move(key, aside) end
local kinds = {
  i = 'zset', e = 'list', c = 'zset', d = 'hash', o = 'hash', g = 'set', f = 'hash',
}
for letter, kind in pairs(kinds) do
  local name = base .. letter .. ':'
  local found = call('TYPE', name).ok
  if found ~= 'none' and found ~= kind then move(name, aside .. ':' .. letter) end
end
return moved
