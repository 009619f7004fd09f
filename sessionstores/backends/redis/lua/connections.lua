-- List connections. ARGV: id, or '*' for all.
-- Returns name, details, whether it is leaving, and deadline, for each in turn.
local id, listed = ARGV[1], {}
if id ~= '*' and call('HEXISTS', base .. 'o:', id) == 0 then return listed end
local leaving = those_leaving()
local after = '(' .. exactly(now())
local found = call('ZRANGEBYSCORE', base .. 'c:', after, '+inf', 'WITHSCORES')
for at = 1, #found, 2 do
  local name = found[at]
  if id == '*' or string.match(name, '^[^/]*') == id then
    local details = call('HGET', base .. 'd:', name)
    if details then
      listed[#listed + 1] = name
      listed[#listed + 1] = details
      listed[#listed + 1] = leaving[name] and 1 or 0
      listed[#listed + 1] = found[at + 1]
    end
  end
end
return listed
