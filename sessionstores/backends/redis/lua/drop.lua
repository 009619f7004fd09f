-- Remove the session's record. If somebody has joined meanwhile, create a new one.
-- ARGV: rev of the new record; timeout. Returns the removed record, {} if none.
local key = base .. 's:'
local final = {}
if call('EXISTS', key) == 1 then final = take('*', now()) end
call('DEL', base .. 'x:')
if call('ZCARD', base .. 'i:') > 0 and call('EXISTS', base .. 't:') == 0 then
  create('*', ARGV[1], now(), tonumber(ARGV[2]), {})
else
  call('DEL', base .. 'e:')
end
return final
