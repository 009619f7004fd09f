-- Commit states to a record if its rev is still the base. Runs without prelude.lua,
-- since every dispatch runs it: touch.lua sees to index, session and old clients, when
-- that is due.
-- KEYS: the record; the followers of its session's records.
-- ARGV: base rev, new rev, timeout and new size, packed; id; the numbers of arguments
-- in the two lists of pairs that follow: a client and its entry without the time, a
-- field and its content; then the fields to remove.
-- Returns the time, the last use and whether a touch is due, packed, if nobody follows;
-- else {'ok', that, lines of followers}. Not committed: {'absent'}, {'corrupt'} or
-- {place, time, record, lines of followers}, where place is 'in' if the new rev is in
-- the history already, 'unknown' if the history is too short to tell, else 'foreign'.
local call = redis.call
local key, order, id = KEYS[1], ARGV[1], ARGV[2]
local head = redis.pcall('HGET', key, 'h')
if type(head) ~= 'string' or #head < 40 or #head % 4 ~= 0 then
  if not head and call('EXISTS', key) == 0 then return {'absent'} end
  if type(head) == 'table' and not string.find(head.err, 'WRONGTYPE', 1, true) then
    return head
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

local timeout, size = struct.unpack('<dd', order, 33)
local seen, due = struct.unpack('<d', head, 21), 0
-- A clock may have gone back, after a failover.
if math.abs(time - seen) >= timeout / 10 then seen, due = time, 1 end
local ring = string.sub(rev, 13)
if string.sub(rev, 1, 4) == string.sub(head, 1, 4) then
  ring = string.sub(string.sub(head, 37) .. ring, -128)
end
head = string.sub(rev, 1, 12) .. string.sub(head, 13, 20)
  .. struct.pack('<dd', seen, size) .. ring

local clients = 4 + tonumber(ARGV[3])
local last = clients + tonumber(ARGV[4])
local fields, stamp = {'h', head}, struct.pack('<d', time)
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
local seconds = 2 * timeout
if id == '*' then
  local keep = tonumber(call('HGET', key, 'k')) or 0
  seconds = math.max(2.2 * timeout, struct.unpack('<d', head, 13) + keep - time)
end
-- As in prelude.lua. Nothing may fail now that the commit is in.
refusal = refusal
  or go_on('PEXPIRE', key, math.ceil(math.min(seconds, 1e10) * 1000))
if refusal then return redis.error_reply('PARTLYDONE ' .. refusal) end
-- One string if nobody follows, as most often: each part of a reply takes time.
local times = struct.pack('<ddB', time, seen, due)
local lines = redis.pcall('HMGET', KEYS[2], id, '+')
if lines[1] or lines[2] then return {'ok', times, lines} end
return times
