-- Return whether the session has ended, when '*' and each id were last revoked, and when
-- each id that is kept out was kicked.
local times = redis.pcall('HMGET', base .. 'r:', '*', unpack(ARGV))
if times.err then times = 'corrupt' end
local kicked = call('HMGET', base .. 'x:', unpack(ARGV))
if not is_founded() then kicked = {} end
return {call('EXISTS', base .. 't:'), times, kicked}
