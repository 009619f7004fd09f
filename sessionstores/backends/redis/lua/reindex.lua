-- Enter a record in the index again. ARGV: id; timeout.
-- Returns 'in', or 'gone': there is none, or it was removed, as its session has ended or
-- keeps it out.
local id, time = ARGV[1], now()
local key = record_key(id)
if call('EXISTS', base .. 't:') == 1 or call('HEXISTS', base .. 'x:', id) == 1 then
  take(id, time)
  return 'gone'
end
local head, corrupt = head_of(key)
if not head and not corrupt then return 'gone' end
if id ~= '*' and not call('ZSCORE', base .. 'i:', id) then
  local seen = head and seen_of(head) or time
  enter(id, seen, time, tonumber(ARGV[2]), kept_until())
end
return 'in'
