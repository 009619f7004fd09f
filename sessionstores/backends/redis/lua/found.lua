-- Create the session's record if it has none.
-- ARGV: rev, timeout, label, keep, whether to keep its participants, too.
-- Returns 1 if the session's rev is this one now, else 0, also if it has ended.
local rev, timeout = ARGV[1], tonumber(ARGV[2])
if call('EXISTS', base .. 't:') == 1 then return 0 end
local key = base .. 's:'
local head, corrupt = head_of(key)
if head then return rev_of(head) == rev and 1 or 0 end
if corrupt then return 0 end
forget_kicked()
-- First, since create() reads the keep to set the expiry.
call('HSET', key, 'n', ARGV[3], 'k', ARGV[4])
if ARGV[5] == '0' then call('HSET', key, 'p', '0') end
create('*', rev, now(), timeout, {})
return 1
