-- Return the ids that are kept out, each followed by the time at which it was kicked.
if not is_founded() then return {} end
return call('HGETALL', base .. 'x:')
