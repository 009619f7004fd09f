-- id, base rev, new rev, timeout, client ('': none) with its id and rejected ids, how
-- many arguments are names and stored forms, these, then names of states to remove.
local id, base_rev, rev, timeout = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local time = now()

if rev_of(head) ~= base_rev then
  -- Where does the new rev stand in this history? See revs.History.place.
  local place = 'foreign'
  local age = struct.unpack('<d', head, 5) - struct.unpack('<d', rev, 5)
  if string.sub(rev, 1, 4) == string.sub(head, 1, 4) and age >= 0 then
    local last = #head - 4 * age
    if last < 40 then
      place = 'unknown'
    elseif string.sub(head, last - 3, last) == string.sub(rev, -4) then
      place = 'in'
    end
  end
  local followers = place == 'in' and followers_of(id, time) or {}
  return {place, followers, call('HGETALL', key)}
end

local incarnation = string.sub(rev, 1, 4)
local seen, size = struct.unpack('<dd', head, 21)
local ring = string.sub(rev, -4)
if incarnation == string.sub(head, 1, 4) then
  ring = string.sub(string.sub(head, 37) .. ring, -128)
end
local due = is_due(head, time, timeout)
if due then seen = time end

local stored = tonumber(ARGV[8])
local fields = {'h', ''}
for at = 9, 8 + stored, 2 do
  local field, value = 's:' .. ARGV[at], ARGV[at + 1]
  size = size + #value - call('HSTRLEN', key, field)
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end
local gone = {}
for at = 9 + stored, #ARGV do
  local field = 's:' .. ARGV[at]
  size = size - call('HSTRLEN', key, field)
  gone[#gone + 1] = field
end
if ARGV[5] ~= '' then
  local field, last = 'c:' .. ARGV[5], tonumber(ARGV[6])
  local held = call('HGET', key, field)
  -- Ids only count up.
  if held then last = math.max(last, (struct.unpack('<d', held, 9))) end
  fields[#fields + 1] = field
  fields[#fields + 1] = struct.pack('<dd', time, last) .. ARGV[7]
end
head = string.sub(rev, 1, 12) .. string.sub(head, 13, 20)
  .. struct.pack('<dd', seen, size) .. ring
fields[2] = head
-- First, so that a server that is out of memory refuses before anything has changed.
call('HSET', key, unpack(fields))
if #gone > 0 then call('HDEL', key, unpack(gone)) end
expire_record(id, head, time, timeout)
local mend = 0
if due then
  mend = refresh(id, time, timeout)
  for _, field in ipairs(call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'c:' then
      local at = struct.unpack('<d', call('HGET', key, field))
      if at <= time - 600 then call('HDEL', key, field) end
    end
  end
end
return {'ok', followers_of(id, time), head, struct.pack('<d', time), mend}
