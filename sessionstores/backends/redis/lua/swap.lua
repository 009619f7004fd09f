-- Replace a shared value if it is still as it was read.
-- KEYS: the value. ARGV: '-' if there was none, else '+' and it; new value; seconds.
local held = redis.call('GET', KEYS[1])
if (held and '+' .. held or '-') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.ceil(tonumber(ARGV[3]) * 1000))
return 1
