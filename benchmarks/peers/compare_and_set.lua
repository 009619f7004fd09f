-- The least that a commit needs: put a state over another if its rev still stands,
-- let it live on, and enter it in an index. 1 if it is in, 0 if another came first.
-- KEYS: record, index. ARGV: base, rev, state, TTL in ms, time, member of the index.
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'rev', ARGV[2], 'state', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[6])
return 1
