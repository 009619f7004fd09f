-- Remove up to so many connections that have run out: whether there may be more, then
-- who had none but these.
local limit = tonumber(ARGV[1])
local past = string.format('%.17g', now())
local lapsed = call('ZRANGEBYSCORE', base .. 'c:', '-inf', past, 'LIMIT', 0, limit)
local answer = {#lapsed == limit and 1 or 0}
for _, name in ipairs(lapsed) do
  local id = string.match(name, '^[^/]*')
  if disconnect(id, name) then answer[#answer + 1] = id end
end
return answer
