-- Revoke what was issued to an id until now, and forget what is older than any token.
-- ARGV: id; seconds for which a token is valid.
local id, age, time = ARGV[1], tonumber(ARGV[2]), now()
local key = base .. 'r:'
local times = redis.pcall('HGETALL', key)
if times.err then return 'corrupt' end
for at = 1, #times, 2 do
  if tonumber(times[at + 1]) <= time - age then call('HDEL', key, times[at]) end
end
call('HSET', key, id, string.format('%.17g', time))
expire(key, age)
return followers_of(id, time)
