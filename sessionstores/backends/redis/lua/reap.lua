-- Remove connections that have expired. ARGV: the most to remove.
-- Returns 1 if there may be more, else 0; then the ids whose last connection that was.
local limit = tonumber(ARGV[1])
local past = string.format('%.17g', now())
local lapsed = call('ZRANGEBYSCORE', base .. 'c:', '-inf', past, 'LIMIT', 0, limit)
local answer = {#lapsed == limit and 1 or 0}
for _, name in ipairs(lapsed) do
  local id = string.match(name, '^[^/]*')
  if disconnect(id, name) then answer[#answer + 1] = id end
end
return answer
