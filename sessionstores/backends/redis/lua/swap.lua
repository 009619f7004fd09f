-- KEYS[1] is a shared value: replace what was seen ('-': nothing, else '+' and it).
local held = redis.call('GET', KEYS[1])
if (held and '+' .. held or '-') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.ceil(tonumber(ARGV[3]) * 1000))
return 1
