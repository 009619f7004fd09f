-- Take the session's record away. Whoever joined meanwhile gets a new one, of that
-- rev. {}: there was none.
local key = base .. 's:'
local final = {}
if call('EXISTS', key) == 1 then final = take('*', now()) end
if call('ZCARD', base .. 'i:') > 0 and call('EXISTS', base .. 't:') == 0 then
  create('*', ARGV[1], now(), tonumber(ARGV[2]), {})
else
  call('DEL', base .. 'e:')
end
return final
