-- Return the server's time, in seconds.
return string.format('%.17g', now())
