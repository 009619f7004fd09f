-- Move corrupt values to a quarantine key: a record that cannot be one, and keys of the
-- session that have the wrong type.
-- ARGV: id; the quarantine key behind the session's part; seconds to keep it.
-- Returns 1 if there was such a value, else 0.
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
