-- Write the end of the session's keep into records of its participants.
-- ARGV: timeout; ids.
local time, timeout, kept = now(), tonumber(ARGV[1]), kept_until()
for at = 2, #ARGV do
  local id = ARGV[at]
  local key = record_key(id)
  local head = head_of(key)
  if head then
    call('HSET', key, 'k', exactly(kept))
    expire_record(id, head, time, timeout, kept)
    local score = tonumber(call('ZSCORE', base .. 'i:', id))
    -- 0: the next sweep looks at it.
    if score and score < 0 then call('ZADD', base .. 'i:', -kept, id) end
  end
end
expire_index(time, timeout, kept)
