-- Read a record. Runs without prelude.lua, as commit.lua does.
-- KEYS: the record. ARGV: the rev that the caller knows, '' if none; timeout.
-- Returns {'absent'}, {'corrupt'}, {'same', whether a touch is due, head} or {'record',
-- whether a touch is due, record}.
local call = redis.call
local head = redis.pcall('HGET', KEYS[1], 'h')
if type(head) ~= 'string' or #head < 40 or #head % 4 ~= 0 then
  if not head and call('EXISTS', KEYS[1]) == 0 then return {'absent'} end
  if type(head) == 'table' and not string.find(head.err, 'WRONGTYPE', 1, true) then
    return head
  end
  return {'corrupt'}
end
local clock = call('TIME')
local seen = struct.unpack('<d', head, 21)
local due = 0
if math.abs(clock[1] + clock[2] / 1000000 - seen) >= ARGV[2] / 10 then due = 1 end
if string.sub(head, 1, 12) .. string.sub(head, -4) == ARGV[1] then
  return {'same', due, head}
end
return {'record', due, call('HGETALL', KEYS[1])}
