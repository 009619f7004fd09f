-- Shared by the scripts. Every key of a session is in the slot of KEYS[1], which is the
-- session's own record, and is named here. All times are the server's, in seconds.
--
-- ss:{CODE}:s:       hash, the session's record; also n label, k keep in seconds, l
--                    locked, p '0' if it does not keep its participants, and a its
--                    activity: minutes since the epoch, then changes by minute
-- ss:{CODE}:p:<id>   hash, a participant's record; also k until when the session keeps
--                    it, and u the latest counter up to which nobody has changed
--                    anything (none: 1); and who it is: n name, o role, w user, y
--                    what a tab showed last as their name
--     h              its head: incarnation, counter, created, seen, size; the ring
--     r              when a use last renewed index and session (none: when last seen)
--     s:<name>       a state's stored form
--     c:<client>     a client's entry: when, last id, rejected ids
-- ss:{CODE}:i:       sorted set, the index: participants by the time they were seen, or
--                    earlier; negative: by the end of their keep, negated
-- ss:{CODE}:e:       list, the session's latest events
-- ss:{CODE}:c:       sorted set, connections as <id>/<connection> by deadline; they stay
--                    after it until they are reaped
-- ss:{CODE}:d:       hash, their details: since when, then as the caller packed
-- ss:{CODE}:o:       hash, each participant's number of them, expired ones included
-- ss:{CODE}:g:       set, those that are leaving
-- ss:{CODE}:f:       hash, a record's followers: a line for each process, deadline and
--                    name; those of "+" follow every participant
-- ss:{CODE}:b:<name> for 3 s, the call that released a participant's last connection
-- ss:{CODE}:t:       the tombstone; r: hash, revocations by participant
-- ss:{CODE}:x:       hash, when each of those who are kept out was kicked, by id
local base = string.sub(KEYS[1], 1, -3)

local call = redis.call

local function now()
  local clock = call('TIME')
  return clock[1] + clock[2] / 1000000
end

local function record_key(id)
  if id == '*' then return base .. 's:' end
  return base .. 'p:' .. id
end

local function is_head(value)
  return #value >= 40 and #value % 4 == 0
end

-- The head of the record at `key`; nil: there is none; nil and true: the value is not
-- a record.
local function head_of(key)
  local head = redis.pcall('HGET', key, 'h')
  if type(head) == 'string' then
    if not is_head(head) then return nil, true end
    return head
  end
  if head then
    -- Refused for another reason than its type, it raises now.
    if not string.find(head.err, 'WRONGTYPE', 1, true) then call('HGET', key, 'h') end
    return nil, true
  end
  return nil, call('EXISTS', key) == 1
end

-- A head's first twelve bytes and its last four are the rev.
local function rev_of(head)
  return string.sub(head, 1, 12) .. string.sub(head, -4)
end

local function seen_of(head)
  return (struct.unpack('<d', head, 21))
end

local function with_seen(head, time)
  return string.sub(head, 1, 20) .. struct.pack('<d', time) .. string.sub(head, 29)
end

-- A clock may have gone back, after a failover.
local function is_due(head, time, timeout)
  return math.abs(time - seen_of(head)) >= timeout / 10
end

-- At most three centuries, which the server still takes for an integer.
local function expire(key, seconds)
  call('PEXPIRE', key, math.ceil(math.min(seconds, 1e10) * 1000))
end

local function exactly(number)
  return string.format('%.17g', number)
end

local function counter_of(head)
  return (struct.unpack('<d', head, 5))
end

-- Whether a participant has ever changed something; `u` is the record's field.
local function has_changed(head, u)
  return counter_of(head) > (tonumber(u) or 1)
end

-- Until when the session keeps its participants; 0: it does not.
local function kept_until()
  local about = redis.pcall('HMGET', base .. 's:', 'h', 'k', 'p')
  local keep = not about.err and about[3] ~= '0' and tonumber(about[2]) or 0
  if keep <= 0 or not about[1] or not is_head(about[1]) then return 0 end
  return struct.unpack('<d', about[1], 13) + keep
end

-- Whether there is a session, and be it one whose own record is lost.
local function is_founded()
  return call('EXISTS', base .. 's:') == 1 or call('ZCARD', base .. 'i:') > 0
end

-- A session's last use is written up to two tenths of the timeout before that of its
-- participants, and it must not expire before them. At the end of a keep, a sweep still
-- finds what is idle then.
local function expire_session(head, time, timeout)
  local created = struct.unpack('<d', head, 13)
  local kept = created + (tonumber(call('HGET', base .. 's:', 'k')) or 0) - time
  local seconds = 2.2 * timeout + math.max(kept, 0)
  expire(base .. 's:', seconds)
  expire(base .. 'e:', seconds)
  -- A commit lets the record alone expire later, by a tenth of the timeout at most.
  expire(base .. 'x:', seconds + timeout)
end

-- Here and below, `kept` is what kept_until() returns.
local function expire_record(id, head, time, timeout, kept)
  if id == '*' then return expire_session(head, time, timeout) end
  local key = base .. 'p:' .. id
  local own = call('HMGET', key, 'k', 'u')
  if kept > time and tonumber(own[1]) ~= kept then
    call('HSET', key, 'k', exactly(kept))
  end
  local seconds = 2 * timeout
  if has_changed(head, own[2]) then
    seconds = seconds + math.max(kept - time, (tonumber(own[1]) or 0) - time, 0)
  end
  expire(key, seconds)
end

local function expire_index(time, timeout, kept)
  expire(base .. 'i:', 2.2 * timeout + math.max(kept - time, 0))
end

-- Enter a participant in the index; return what to repair, as touch_session: nothing, or
-- the registry's score, which does not count if all others, if any, are kept.
local function enter(id, seen, time, timeout, kept)
  local latest = call('ZREVRANGE', base .. 'i:', 0, 0, 'WITHSCORES')[2]
  call('ZADD', base .. 'i:', seen, id)
  expire_index(time, timeout, kept)
  return (tonumber(latest) or -1) < 0 and 1 or 0
end

-- Mark the session as used: 1 if that was due, 2 if there is no session, else 0.
local function touch_session(time, timeout)
  local key = base .. 's:'
  local head, corrupt = head_of(key)
  if corrupt then return 0 end
  if not head then return 2 end
  if not is_due(head, time, timeout) then return 0 end
  call('HSET', key, 'h', with_seen(head, time), 'r', exactly(time))
  expire_session(head, time, timeout)
  return 1
end

-- Keep index and session alive, now that a record is in use; returns as touch_session.
local function refresh(id, time, timeout, kept)
  if id == '*' then
    expire_index(time, timeout, kept)
    return 1
  end
  local mend = enter(id, time, time, timeout, kept)
  return math.max(mend, touch_session(time, timeout))
end

-- Mark a record as used; return its head, and what to repair, as touch_session.
-- `how`: 'due', if that is due; 'acted', also if it is not known yet that the
-- participant has changed something; 'always'.
local function touch(id, key, head, time, timeout, how)
  if how == 'acted' and not has_changed(head, call('HGET', key, 'u')) then
    call('HSET', key, 'u', 0)
  elseif how ~= 'always' and not is_due(head, time, timeout) then
    return head, 0
  end
  head = with_seen(head, time)
  local kept = kept_until()
  call('HSET', key, 'h', head, 'r', exactly(time))
  expire_record(id, head, time, timeout, kept)
  return head, refresh(id, time, timeout, kept)
end

-- Who was kicked from a session of this code that has expired may be in another.
local function forget_kicked()
  if not is_founded() then call('DEL', base .. 'x:') end
end

-- The fields for parts of a profile, name, role and user, each unless it is nil or false.
-- Who has a name is kept as those are who have changed something.
local function profile_fields(key, head, profile)
  local fields = {}
  for at, name in ipairs({'n', 'o', 'w'}) do
    if profile[at] then
      fields[#fields + 1] = name
      fields[#fields + 1] = profile[at]
    end
  end
  if profile[1] and not has_changed(head, call('HGET', key, 'u')) then
    fields[#fields + 1] = 'u'
    fields[#fields + 1] = 0
  end
  return fields
end

-- The profile in a record: name, role and user, each false if it is not known.
local function profile_of(key)
  local profile = redis.pcall('HMGET', key, 'n', 'o', 'w')
  if not profile.err then return profile end
  if not string.find(profile.err, 'WRONGTYPE', 1, true) then call('HGET', key, 'n') end
  return {false, false, false}
end

-- A part of a profile as it is passed: '' is nil, else a mark comes before it.
local function part(argument)
  return argument ~= '' and string.sub(argument, 2) or nil
end

-- Create a record; return what to repair, as enter.
local function create(id, rev, time, timeout, states, profile)
  local size = 0
  for at = 2, #states, 2 do size = size + #states[at] end
  local head = string.sub(rev, 1, 12)
    .. struct.pack('<ddd', time, time, size) .. string.sub(rev, 13)
  local key, kept = record_key(id), kept_until()
  local fields = profile and profile_fields(key, head, profile) or {}
  fields[#fields + 1] = 'h'
  fields[#fields + 1] = head
  fields[#fields + 1] = 'r'
  fields[#fields + 1] = exactly(time)
  for at = 1, #states, 2 do
    fields[#fields + 1] = 's:' .. states[at]
    fields[#fields + 1] = states[at + 1]
  end
  call('HSET', key, unpack(fields))
  expire_record(id, head, time, timeout, kept)
  return id == '*' and 0 or enter(id, time, time, timeout, kept)
end

-- The time, and the lines of a record's followers: its own, and everyone's.
local function followers_of(id, time)
  local lines = call('HMGET', base .. 'f:', id, '+')
  return {struct.pack('<d', time), lines[1], id ~= '*' and lines[2]}
end

-- The lines of a record's followers that have not expired, without some processes.
local function entries_but(record, processes, time)
  local entries = {}
  local lines = call('HGET', base .. 'f:', record) or ''
  for line, deadline, process in string.gmatch(lines, '((%S+) (%S+)\n)') do
    if tonumber(deadline) > time and not processes[process] then
      entries[#entries + 1] = line
    end
  end
  return entries
end

-- Remove a record; return its id, its fields (false if lost or corrupt), its followers.
local function take(id, time)
  local key = record_key(id)
  local head = head_of(key)
  local fields = head and call('HGETALL', key) or false
  call('DEL', key)
  if id ~= '*' then call('ZREM', base .. 'i:', id) end
  return {id, fields, followers_of(id, time)}
end

-- The connections that have not expired.
local function those_connected(time)
  local after = '(' .. string.format('%.17g', time)
  return call('ZRANGEBYSCORE', base .. 'c:', after, '+inf')
end

local function those_leaving()
  local leaving = {}
  for _, name in ipairs(call('SMEMBERS', base .. 'g:')) do leaving[name] = true end
  return leaving
end

-- The number of each participant's connections, without those that are leaving.
local function live_connections(time)
  local leaving, counts = those_leaving(), {}
  for _, name in ipairs(those_connected(time)) do
    if not leaving[name] then
      local id = string.match(name, '^[^/]*')
      counts[id] = (counts[id] or 0) + 1
    end
  end
  return counts
end

-- Remove a connection; true if it was the participant's last.
local function disconnect(id, name)
  call('ZREM', base .. 'c:', name)
  call('HDEL', base .. 'd:', name)
  call('SREM', base .. 'g:', name)
  if call('HINCRBY', base .. 'o:', id, -1) > 0 then return false end
  call('HDEL', base .. 'o:', id)
  return true
end

-- The session's score in the registry (see registry.py), once all that is idle is
-- removed; '' if it has no participants.
local function next_look(timeout)
  local function first(command, from, to)
    return call(command, base .. 'i:', from, to, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  end
  local used = first('ZRANGEBYSCORE', 0, '+inf')
  local kept = first('ZREVRANGEBYSCORE', '(0', '-inf')
  if not (used and kept) then return used or kept or '' end
  -- The registry has one score: a keep that may end first is waited for by looking again.
  return -tonumber(kept) > tonumber(used) + timeout and used or '0'
end

local function slice(list, first, last)
  local part = {}
  for at = first, last or #list do part[#part + 1] = list[at] end
  return part
end
