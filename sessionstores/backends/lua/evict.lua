-- Take away up to so many participants that were not seen for so long and hold no
-- lease. The index is as true as the records: one script writes both.
local time = now()
local since, limit = time - tonumber(ARGV[1]), tonumber(ARGV[2])
local connected
local removed, skipped = {}, 0
while #removed < limit do
  local idle = call('ZRANGEBYSCORE', base .. 'i:', '-inf', string.format('%.17g', since),
    'LIMIT', skipped, limit - #removed)
  if #idle == 0 then break end
  if not connected then
    connected = {}
    local after = '(' .. string.format('%.17g', time)
    for _, name in ipairs(call('ZRANGEBYSCORE', base .. 'c:', after, '+inf')) do
      connected[string.match(name, '^[^/]*')] = true
    end
  end
  for _, id in ipairs(idle) do
    local head, corrupt = head_of(record_key(id))
    if corrupt or connected[id] or (head and seen_of(head) > since) then
      skipped = skipped + 1
    else
      removed[#removed + 1] = take(id, time)
    end
  end
end
return removed
