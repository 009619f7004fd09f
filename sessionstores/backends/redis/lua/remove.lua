-- Take away the participants named; those that are not there are left out.
local time, removed = now(), {}
for _, id in ipairs(ARGV) do
  if call('EXISTS', record_key(id)) == 1 then
    removed[#removed + 1] = take(id, time)
  else
    call('ZREM', base .. 'i:', id)
  end
end
return removed
