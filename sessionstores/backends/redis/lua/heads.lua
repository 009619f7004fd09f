-- The rev of each record, '' where there is none.
local revs = {}
for at, id in ipairs(ARGV) do
  local head = head_of(record_key(id))
  revs[at] = head and rev_of(head) or ''
end
return revs
