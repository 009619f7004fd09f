return followers_of(ARGV[1], now())
