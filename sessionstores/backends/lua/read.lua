-- id, the rev that the caller knows ('': none), whether to touch, timeout, and whether
-- the states are wanted at all.
local id, known, timeout = ARGV[1], ARGV[2], tonumber(ARGV[4])
local key = record_key(id)
local head, corrupt = head_of(key)
if corrupt then return {'corrupt'} end
if not head then return {'absent'} end
local mend = 0
if ARGV[3] == '1' then head, mend = touch(id, key, head, now(), timeout) end
if ARGV[5] == '0' or rev_of(head) == known then return {'same', mend, head} end
return {'record', mend, call('HGETALL', key)}
