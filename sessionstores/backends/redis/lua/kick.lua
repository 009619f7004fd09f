-- Keep an id out as long as the session lives, and remove its record.
-- ARGV: id; the most ids that may be kept out; timeout.
-- Returns {'absent'}: there is no session; {'full'}; or {'kicked', what was removed,
-- false if there was no record}.
local id, most, timeout = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if call('EXISTS', base .. 't:') == 1 or not is_founded() then return {'absent'} end
local key, time = base .. 'x:', now()
if call('HEXISTS', key, id) == 0 then
  if call('HLEN', key) >= most then return {'full'} end
  call('HSET', key, id, exactly(time))
end
local head = head_of(base .. 's:')
if head then
  expire_session(head, time, timeout)
else
  -- Whoever creates the session's record anew sets it.
  expire(key, 3.2 * timeout)
end
local final = call('EXISTS', record_key(id)) == 1 and take(id, time)
call('ZREM', base .. 'i:', id)
return {'kicked', final}
