-- Keep the name that a participant's tab showed. ARGV: id; name. Nothing is written that
-- is known, nor without a record.
local key = record_key(ARGV[1])
if head_of(key) and call('HGET', key, 'y') ~= ARGV[2] then
  call('HSET', key, 'y', ARGV[2])
end
return 0
