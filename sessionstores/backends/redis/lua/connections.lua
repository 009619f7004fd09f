-- List connections. ARGV: id, or '*' for all.
-- Returns name, details and whether it is leaving, for each in turn.
local id, listed = ARGV[1], {}
if id ~= '*' and call('HEXISTS', base .. 'o:', id) == 0 then return listed end
local leaving = those_leaving()
for _, name in ipairs(those_connected(now())) do
  if id == '*' or string.match(name, '^[^/]*') == id then
    local details = call('HGET', base .. 'd:', name)
    if details then
      listed[#listed + 1] = name
      listed[#listed + 1] = details
      listed[#listed + 1] = leaving[name] and 1 or 0
    end
  end
end
return listed
