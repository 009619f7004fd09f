-- Return the record of an id, created if there is none.
-- ARGV: id; rev to create it with; timeout; limit of participants; whether the session
-- may be created, too; its rev; whether to admit the participant to a locked session;
-- name, role and user to create it with, as for profile.lua; then names and stored forms
-- of the states.
-- Returns {'record', what to repair, record, whether created, whether it was lost: in
-- the index without a record}; or {'ended'}, {'kicked'}, {'corrupt'}, {'locked'}, {'full',
-- how many participants}, {'unfounded'}: the session would have to be created.
local id, rev, timeout = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = now()
if call('EXISTS', base .. 't:') == 1 then return {'ended'} end
if call('HEXISTS', base .. 'x:', id) == 1 and is_founded() then return {'kicked'} end
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if head then
  local mend
  head, mend = touch(id, key, head, time, timeout, 'due')
  if call('EXISTS', base .. 's:') == 0 then mend = 2 end
  local ours = rev_of(head) == rev and 1 or 0
  return {'record', mend, call('HGETALL', key), ours, 0}
end
local founded = call('EXISTS', base .. 's:') == 0
local others = call('ZCARD', base .. 'i:')
local lost = id ~= '*' and call('ZSCORE', base .. 'i:', id)
if id ~= '*' and not lost then
  -- A corrupt session keeps no one out; the next read of it sets it aside.
  if ARGV[7] == '0' and head_of(base .. 's:')
    and call('HGET', base .. 's:', 'l') == '1' then
    return {'locked'}
  end
  if others >= tonumber(ARGV[4]) then return {'full', others} end
end
if founded and ARGV[5] == '0' then return {'unfounded'} end
forget_kicked()
if founded and id ~= '*' then create('*', ARGV[6], time, timeout, {}) end
local profile = {part(ARGV[8]), part(ARGV[9]), part(ARGV[10])}
local mend = create(id, rev, time, timeout, slice(ARGV, 11), profile)
if id ~= '*' and not founded then mend = math.max(mend, touch_session(time, timeout)) end
return {'record', mend, call('HGETALL', key), 1, lost and 1 or 0}
