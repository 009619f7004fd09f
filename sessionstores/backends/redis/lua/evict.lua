-- Remove idle participants that hold no lease. A script writes both index and records,
-- so the index names the right ones.
-- ARGV: seconds from which idle (infinite: only those without a record); the most to
-- remove; an id, to remove only that one, or ''.
-- Returns the last use of the longest unused participant that stays ('' if unknown),
-- then what was removed.
local time = now()
local since, limit = time - tonumber(ARGV[1]), tonumber(ARGV[2])
local removed, connected = {''}
local attended = call('EXISTS', base .. 'o:') == 1
local followed = call('EXISTS', base .. 'f:') == 1
local function is_connected(id)
  if not attended or call('HEXISTS', base .. 'o:', id) == 0 then return false end
  if not connected then
    connected = {}
    for _, name in ipairs(those_connected(time)) do
      connected[string.match(name, '^[^/]*')] = true
    end
  end
  return connected[id]
end
-- A participant's record if it is to be removed, false if there is none, else nil.
local function due_record(id)
  if is_connected(id) then return nil end
  local fields = redis.pcall('HGETALL', base .. 'p:' .. id)
  if fields.err then return nil end
  if #fields == 0 then return false end
  for at = 1, #fields, 2 do
    local head = fields[at + 1]
    if fields[at] == 'h' and is_head(head) then
      return seen_of(head) <= since and fields or nil
    end
  end
  return nil
end
local function take_due(ids)
  local keys, taken = {}, {}
  for _, id in ipairs(ids) do
    if #removed > limit then break end
    local fields = due_record(id)
    if fields ~= nil then
      keys[#keys + 1], taken[#taken + 1] = base .. 'p:' .. id, id
      removed[#removed + 1] = {id, fields, followed and followers_of(id, time)}
    end
  end
  -- All at once, which takes half as long.
  if #taken > 0 then
    call('DEL', unpack(keys))
    call('ZREM', base .. 'i:', unpack(taken))
  end
end
if ARGV[3] ~= '' then
  if call('ZSCORE', base .. 'i:', ARGV[3]) then take_due({ARGV[3]}) end
elseif since == -math.huge then
  take_due(call('ZRANGE', base .. 'i:', 0, -1))
else
  local skipped = 0
  while #removed <= limit do
    local idle = call('ZRANGEBYSCORE', base .. 'i:', '-inf',
      string.format('%.17g', since), 'LIMIT', skipped, limit)
    if #idle == 0 then
      removed[1] = oldest_use()
      break
    end
    local before = #removed
    take_due(idle)
    skipped = skipped + #idle - (#removed - before)
  end
end
return removed
