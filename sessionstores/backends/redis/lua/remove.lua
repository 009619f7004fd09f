-- Remove participants. ARGV: ids. Returns those that there were.
local time, removed = now(), {}
for _, id in ipairs(ARGV) do
  if call('EXISTS', record_key(id)) == 1 then
    removed[#removed + 1] = take(id, time)
  else
    call('ZREM', base .. 'i:', id)
  end
end
return removed
