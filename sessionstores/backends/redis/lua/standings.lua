-- Whether the session has ended, when all of it was revoked, and when each id was.
local times = redis.pcall('HMGET', base .. 'r:', '*', unpack(ARGV))
if times.err then times = 'corrupt' end
return {call('EXISTS', base .. 't:'), times}
