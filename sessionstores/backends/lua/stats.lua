-- Participants, connections and bytes of the session.
local ids = call('ZRANGE', base .. 'i:', 0, -1)
local bytes = 0
local function add(key)
  local head = head_of(key)
  if head then bytes = bytes + struct.unpack('<d', head, 29) end
end
add(base .. 's:')
for _, id in ipairs(ids) do add(base .. 'p:' .. id) end
local after = '(' .. string.format('%.17g', now())
return {#ids, call('ZCOUNT', base .. 'c:', after, '+inf'), bytes}
