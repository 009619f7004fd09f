-- Give the session a record of that rev, timeout, label and keep, if it has none.
-- 1: it has this one now; 0: another, or it has ended.
local rev, timeout = ARGV[1], tonumber(ARGV[2])
if call('EXISTS', base .. 't:') == 1 then return 0 end
local key = base .. 's:'
local head, corrupt = head_of(key)
if head then return rev_of(head) == rev and 1 or 0 end
if corrupt then return 0 end
-- First, since a session lives as long as its keep says.
call('HSET', key, 'n', ARGV[3], 'k', ARGV[4])
create('*', rev, now(), timeout, {})
return 1
