-- Take the session away if it has no participant, was not used for so long, and is
-- past its keep: 'gone', 'absent' or 'stays'.
if call('ZCARD', base .. 'i:') > 0 then return 'stays' end
local key = base .. 's:'
local head, corrupt = head_of(key)
if corrupt then return 'stays' end
if not head then return 'absent' end
local time = now()
local created, seen = struct.unpack('<dd', head, 13)
local keep = tonumber(call('HGET', key, 'k')) or 0
if seen > time - tonumber(ARGV[1]) or time < created + keep then return 'stays' end
call('DEL', key, base .. 'e:')
return 'gone'
