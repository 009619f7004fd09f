-- Return the time and the lines of a record's followers. ARGV: id.
return followers_of(ARGV[1], now())
