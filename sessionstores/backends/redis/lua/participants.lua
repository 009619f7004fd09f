-- Return each participant's id, head, number of connections, until when they are kept,
-- '0' if they are not, name, role and user, and the name that a tab showed last.
local connections, listed, kept = live_connections(now()), {}, kept_until()
for _, id in ipairs(call('ZRANGE', base .. 'i:', 0, -1)) do
  local head = head_of(base .. 'p:' .. id)
  if head then
    listed[#listed + 1] = id
    listed[#listed + 1] = head
    listed[#listed + 1] = connections[id] or 0
    local own = call('HMGET', base .. 'p:' .. id, 'k', 'u', 'n', 'o', 'w', 'y')
    local until_then = math.max(kept, tonumber(own[1]) or 0)
    listed[#listed + 1] = has_changed(head, own[2]) and exactly(until_then) or '0'
    for at = 3, 6 do listed[#listed + 1] = own[at] end
  end
end
return listed
