-- Move what stands at a record's key and is no record to the key given, for so long.
local key = record_key(ARGV[1])
local _, corrupt = head_of(key)
if not corrupt then return 0 end
local aside = base .. ARGV[2]
call('RENAME', key, aside)
expire(aside, tonumber(ARGV[3]))
return 1
