-- id, rev of the record to create, timeout, limit of participants, whether there may
-- be a new session, its rev, then names and stored forms of the states. The record is
-- answered with what there is to mend, whether it was created, and whether another
-- that was lost stood in the index.
local id, rev, timeout = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = now()
if call('EXISTS', base .. 't:') == 1 then return {'ended'} end
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if head then
  local mend
  head, mend = touch(id, key, head, time, timeout)
  if call('EXISTS', base .. 's:') == 0 then mend = 2 end
  local ours = rev_of(head) == rev and 1 or 0
  return {'record', mend, call('HGETALL', key), ours, 0}
end
local founded = call('EXISTS', base .. 's:') == 0
local others = call('ZCARD', base .. 'i:')
local lost = id ~= '*' and call('ZSCORE', base .. 'i:', id)
if id ~= '*' and not lost then
  -- A corrupt session is set aside by those who read it; it locks nobody out.
  if head_of(base .. 's:') and call('HGET', base .. 's:', 'l') == '1' then
    return {'locked'}
  end
  if others >= tonumber(ARGV[4]) then return {'full', others} end
end
if founded and ARGV[5] == '0' then return {'unfounded'} end
if founded and id ~= '*' then create('*', ARGV[6], time, timeout, {}) end
create(id, rev, time, timeout, slice(ARGV, 7))
local mend = 0
if id ~= '*' and not founded then
  mend = touch_session(time, timeout)
  -- Nothing was due there before, whatever the registry says.
  if others == 0 then mend = math.max(mend, 1) end
end
return {'record', mend, call('HGETALL', key), 1, lost and 1 or 0}
