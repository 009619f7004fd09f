-- Commit states to a record if its rev is still the base. Runs without prelude.lua,
-- since every dispatch runs it: touch.lua sees to index, session and old clients, when
-- that is due.
-- KEYS: the record; the followers of its session's records.
-- ARGV: base rev, new rev, timeout, new size and whether it is a change, packed; id; the
-- numbers of arguments in the two lists of pairs that follow: a client and its entry
-- without the time, a field and its content; then the fields to remove.
-- Returns the time, the last use and whether a touch is due, packed, if nobody follows;
-- else {'ok', that, lines of followers}. Not committed: {'absent'}, {'corrupt'} or
-- {place, time, record, lines of followers}, where place is 'in' if the new rev is in
-- the history already, 'unknown' if the history is too short to tell, else 'foreign'.
local call = redis.call
local key, order, id = KEYS[1], ARGV[1], ARGV[2]
local known = redis.pcall('HMGET', key, 'h', 'r', 'k', 'u')
local head = known[1]
if type(head) ~= 'string' or #head < 40 or #head % 4 ~= 0 then
  if known.err then
    if not string.find(known.err, 'WRONGTYPE', 1, true) then return known end
  elseif not head and call('EXISTS', key) == 0 then
    return {'absent'}
  end
  return {'corrupt'}
end
local clock = call('TIME')
local time = clock[1] + clock[2] / 1000000
local base, rev = string.sub(order, 1, 16), string.sub(order, 17, 32)

if string.sub(head, 1, 12) .. string.sub(head, -4) ~= base then
  -- The new rev's place in this history; see History.place in revisions.py.
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
  return {place, struct.pack('<d', time), call('HGETALL', key),
    call('HMGET', KEYS[2], id, '+')}
end

local timeout, size, is_change = struct.unpack('<ddB', order, 33)
local renewed, due = tonumber(known[2]), 0
local since = renewed or (struct.unpack('<d', head, 21))
-- A clock may have gone back, after a failover.
if math.abs(time - since) >= timeout / 10 then renewed, since, due = nil, time, 1 end
-- Whether the participant has ever changed something; as in prelude.lua.
local pristine, counter = tonumber(known[4]) or 1, (struct.unpack('<d', rev, 5))
local has_changed = is_change == 1 or (struct.unpack('<d', head, 5)) > pristine
local ring = string.sub(rev, 13)
if string.sub(rev, 1, 4) == string.sub(head, 1, 4) then
  ring = string.sub(string.sub(head, 37) .. ring, -128)
end
head = string.sub(rev, 1, 12) .. string.sub(head, 13, 20)
  .. struct.pack('<dd', time, size) .. ring

local clients = 4 + tonumber(ARGV[3])
local last = clients + tonumber(ARGV[4])
local fields, stamp = {'h', head}, struct.pack('<d', time)
if not renewed then
  fields[#fields + 1] = 'r'
  fields[#fields + 1] = string.format('%.17g', since)
end
if id ~= '*' and (not has_changed or pristine >= counter) then
  fields[#fields + 1] = 'u'
  fields[#fields + 1] = has_changed and 0 or counter
end
for at = 5, clients, 2 do
  fields[#fields + 1] = 'c:' .. ARGV[at]
  fields[#fields + 1] = stamp .. ARGV[at + 1]
end
for at = clients + 1, last do fields[#fields + 1] = ARGV[at] end
-- First, so that a server that is out of memory refuses before anything has changed.
-- No more at once than a call may have arguments.
for at = 1, #fields, 1000 do
  call('HSET', key, unpack(fields, at, math.min(at + 999, #fields)))
end
-- What is refused from here on, an ACL alone can refuse.
local function go_on(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end
local refusal
for at = last + 1, #ARGV, 1000 do
  refusal = refusal
    or go_on('HDEL', key, unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
local seconds, keep = 2 * timeout, tonumber(known[3]) or 0
if id == '*' then
  local kept = struct.unpack('<d', head, 13) + keep
  seconds = 2.2 * timeout + math.max(kept - time, 0)
elseif has_changed then
  seconds = seconds + math.max(keep - time, 0)
end
-- As in prelude.lua. Nothing may fail now that the commit is in.
refusal = refusal
  or go_on('PEXPIRE', key, math.ceil(math.min(seconds, 1e10) * 1000))
if refusal then return redis.error_reply('PARTLYDONE ' .. refusal) end
-- One string if nobody follows, as most often: each part of a reply takes time.
local times = struct.pack('<ddB', time, time, due)
local lines = redis.pcall('HMGET', KEYS[2], id, '+')
if lines[1] or lines[2] then return {'ok', times, lines} end
return times
