-- Remove idle participants that hold no lease and are not kept. A script writes both
-- index and records, so the index names the right ones.
-- ARGV: seconds from which idle (infinite: only those without a record); the most to
-- remove; an id, to remove only that one, or ''; '1': with their states; timeout.
-- Returns the session's score for the registry ('' if unknown), then what was removed:
-- id, record (without states: the bytes of its states; false: lost), followers.
local time, idle_for = now(), tonumber(ARGV[1])
local since, limit, with_states = time - idle_for, tonumber(ARGV[2]), ARGV[4] == '1'
local kept = kept_until()
-- If the session's record is lost, what theirs say of its keep holds; if it is there and
-- keeps nobody, theirs need not say more than when they were seen.
local may_be_kept = kept > time or call('EXISTS', base .. 's:') == 0
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
-- A participant's record if it is to be removed, false if there is none, else nil; then
-- a better score for the index, if there is one.
local function due_record(id)
  if is_connected(id) then return nil end
  local key = base .. 'p:' .. id
  local head = redis.pcall('HGET', key, 'h')
  if not head and call('EXISTS', key) == 0 then return false end
  if type(head) ~= 'string' or not is_head(head) then return nil end
  if since == -math.huge then return nil end
  local seen, size = struct.unpack('<dd', head, 21)
  -- A commit writes the last use into the record only.
  if seen > since then return nil, seen end
  if may_be_kept then
    local own = call('HMGET', key, 'k', 'u')
    local ends = math.max(kept, tonumber(own[1]) or 0)
    if ends > time and has_changed(head, own[2]) then return nil, -ends end
  end
  return with_states and call('HGETALL', key) or size
end
-- Remove those of these who are due; return how many, and how many got another score,
-- out of the range.
local function take_due(ids)
  local keys, taken, moved = {}, {}, {}
  for _, id in ipairs(ids) do
    if #removed > limit then break end
    local record, score = due_record(id)
    if record ~= nil then
      keys[#keys + 1], taken[#taken + 1] = base .. 'p:' .. id, id
      removed[#removed + 1] = {id, record, followed and followers_of(id, time)}
    elseif score then
      moved[#moved + 1] = exactly(score)
      moved[#moved + 1] = id
    end
  end
  -- All at once, which takes half as long.
  if #taken > 0 then
    call('DEL', unpack(keys))
    call('ZREM', base .. 'i:', unpack(taken))
  end
  if #moved > 0 then call('ZADD', base .. 'i:', unpack(moved)) end
  return #taken, #moved / 2
end
-- Remove those who are due in a range of the index; false if there may be more.
local rescored = 0
local function take_range(first, last)
  local skipped = 0
  while #removed <= limit do
    -- So that many who are kept do not hold the server.
    if rescored > 1000 then return false end
    local idle = call('ZRANGEBYSCORE', base .. 'i:', first, last,
      'LIMIT', skipped, limit)
    if #idle == 0 then return true end
    local taken, moved = take_due(idle)
    rescored = rescored + moved
    skipped = skipped + #idle - taken - moved
  end
  return false
end
if ARGV[3] ~= '' then
  if call('ZSCORE', base .. 'i:', ARGV[3]) then take_due({ARGV[3]}) end
elseif since == -math.huge then
  take_due(call('ZRANGE', base .. 'i:', 0, -1))
elseif take_range(exactly(-time), '(0') and take_range('0', exactly(since)) then
  removed[1] = next_look(tonumber(ARGV[5]))
end
return removed
