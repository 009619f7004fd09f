-- List sessions to look at: something in them may be idle, or their keep is over.
-- KEYS: the registry. ARGV: seconds from which idle; the most to return.
local call = redis.call
local clock = call('TIME')
local time = clock[1] + clock[2] / 1000000
local function between(first, last)
  return call('ZRANGEBYSCORE', KEYS[1], first, last, 'LIMIT', 0, ARGV[2])
end
local due = between('0', string.format('%.17g', time - ARGV[1]))
for _, code in ipairs(between(string.format('%.17g', -time), '(0')) do
  due[#due + 1] = code
end
return due
