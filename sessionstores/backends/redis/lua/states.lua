-- Read one state of participants. ARGV: its field; how many of them to read at most;
-- after how many bytes to stop; their ids, all if none are given.
-- Returns the ids that are left; then id, rev and stored form of each who has the state,
-- both '' where the record is corrupt.
local field, most, enough = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = ARGV[4] and slice(ARGV, 4) or call('ZRANGE', base .. 'i:', 0, -1)
local found, bytes, at = {}, 0, 0
while at < #ids and at < most and bytes < enough do
  at = at + 1
  local key = record_key(ids[at])
  local head, corrupt = head_of(key)
  local state = head and call('HGET', key, field)
  if corrupt or state then
    found[#found + 1] = ids[at]
    found[#found + 1] = corrupt and '' or rev_of(head)
    found[#found + 1] = corrupt and '' or state
    bytes = bytes + (corrupt and 0 or #state)
  end
end
return {slice(ids, at + 1), found}
