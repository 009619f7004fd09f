-- Return the rev of each record, '' if there is none. ARGV: ids.
local revs = {}
for at, id in ipairs(ARGV) do
  local head = head_of(record_key(id))
  revs[at] = head and rev_of(head) or ''
end
return revs
