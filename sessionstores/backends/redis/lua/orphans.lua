-- Return for each id 'gone' (no record), 'listed', or 'orphan' (not in the index).
local marks = {}
for at, id in ipairs(ARGV) do
  if call('EXISTS', record_key(id)) == 0 then
    marks[at] = 'gone'
  elseif id == '*' or call('ZSCORE', base .. 'i:', id) then
    marks[at] = 'listed'
  else
    marks[at] = 'orphan'
  end
end
return marks
