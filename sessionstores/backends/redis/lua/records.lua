-- Read records of a session. ARGV: how many of them to read at most; after how many
-- bytes to stop; their ids, '*' being the session's own.
-- Returns the ids that are left; then id and hash of each that exists, the hash empty
-- where the record is corrupt.
local most, enough = tonumber(ARGV[1]), tonumber(ARGV[2])
local ids = slice(ARGV, 3)
local found, bytes, at = {}, 0, 0
while at < #ids and at < most and bytes < enough do
  at = at + 1
  local key = record_key(ids[at])
  local head, corrupt = head_of(key)
  if head or corrupt then
    local fields = head and call('HGETALL', key) or {}
    for _, part in ipairs(fields) do bytes = bytes + #part end
    found[#found + 1] = ids[at]
    found[#found + 1] = fields
  end
end
return {slice(ids, at + 1), found}
