-- What there is of each record: 'gone', 'listed', or a 'stray' that no index names.
local marks = {}
for at, id in ipairs(ARGV) do
  if call('EXISTS', record_key(id)) == 0 then
    marks[at] = 'gone'
  elseif id == '*' or call('ZSCORE', base .. 'i:', id) then
    marks[at] = 'listed'
  else
    marks[at] = 'stray'
  end
end
return marks
