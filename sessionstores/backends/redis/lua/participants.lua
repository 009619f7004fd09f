-- Return each participant's id, head and number of connections.
local connections, listed = live_connections(now()), {}
for _, id in ipairs(call('ZRANGE', base .. 'i:', 0, -1)) do
  local head = head_of(base .. 'p:' .. id)
  if head then
    listed[#listed + 1] = id
    listed[#listed + 1] = head
    listed[#listed + 1] = connections[id] or 0
  end
end
return listed
