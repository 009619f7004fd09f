-- Enter a session in the registry, unless that makes too many.
-- KEYS: the registry. ARGV: code; limit. Returns 1 if it is entered now, else 0.
local call = redis.call
if call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
if call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
local clock = call('TIME')
call('ZADD', KEYS[1], clock[1], ARGV[1])
return 1
