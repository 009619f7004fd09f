-- List sessions to look at: something in them may be idle, or their keep is over.
-- KEYS: the registry. ARGV: seconds from which idle; the timeout; the most to return.
local call = redis.call
local clock = call('TIME')
local time = clock[1] + clock[2] / 1000000
-- No score counts for longer than the timeout: see next_look.
local idle_for = math.min(tonumber(ARGV[1]), tonumber(ARGV[2]))
local function between(first, last)
  return call('ZRANGEBYSCORE', KEYS[1], first, last, 'LIMIT', 0, ARGV[3])
end
local due = between('0', string.format('%.17g', time - idle_for))
for _, code in ipairs(between(string.format('%.17g', -time), '(0')) do
  due[#due + 1] = code
end
return due
