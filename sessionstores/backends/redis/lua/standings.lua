-- Return whether the session has ended, and when '*' and each id were last revoked.
local times = redis.pcall('HMGET', base .. 'r:', '*', unpack(ARGV))
if times.err then times = 'corrupt' end
return {call('EXISTS', base .. 't:'), times}
