-- Return whether the session has ended; when '*' and each id were last revoked; when each
-- id that is kept out was kicked; and, if asked for, name, role and user of each id.
-- ARGV: '1' to ask for these; ids.
local ids = slice(ARGV, 2)
local times = redis.pcall('HMGET', base .. 'r:', '*', unpack(ids))
if times.err then times = 'corrupt' end
local kicked = call('HMGET', base .. 'x:', unpack(ids))
if not is_founded() then kicked = {} end
local profiles = {}
for _, id in ipairs(ARGV[1] == '1' and ids or {}) do
  local profile = profile_of(record_key(id))
  for at = 1, 3 do profiles[#profiles + 1] = profile[at] end
end
return {call('EXISTS', base .. 't:'), times, kicked, profiles}
