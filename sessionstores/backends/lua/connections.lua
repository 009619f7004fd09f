-- Names and details of a participant's connections, with '*' of all.
local id, listed = ARGV[1], {}
local after = '(' .. string.format('%.17g', now())
for _, name in ipairs(call('ZRANGEBYSCORE', base .. 'c:', after, '+inf')) do
  if id == '*' or string.match(name, '^[^/]*') == id then
    local details = call('HGET', base .. 'd:', name)
    if details then
      listed[#listed + 1] = name
      listed[#listed + 1] = details
    end
  end
end
return listed
