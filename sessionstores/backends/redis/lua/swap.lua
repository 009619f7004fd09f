-- Replace a shared value if it is still as it was read.
-- KEYS: the value. ARGV: '-' if there was none, else '+' and it; new value; seconds.
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then
  -- As to MGET, a value of another type is none.
  if not string.find(held.err, 'WRONGTYPE', 1, true) then return held end
  held = false
end
if (held and '+' .. held or '-') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.ceil(tonumber(ARGV[3]) * 1000))
return 1
