-- What there is of each record: 'gone', 'listed', or an 'orphan' that no index names.
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
