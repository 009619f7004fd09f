-- KEYS[1] is the registry: enter a code unless that makes more than the limit. 1 if it
-- stands there, else 0.
local call = redis.call
if call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
if call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
local clock = call('TIME')
call('ZADD', KEYS[1], clock[1], ARGV[1])
return 1
