-- Return name, role and user of each participant. ARGV: ids.
local found = {}
for _, id in ipairs(ARGV) do
  local profile = profile_of(record_key(id))
  for at = 1, 3 do found[#found + 1] = profile[at] end
end
return found
