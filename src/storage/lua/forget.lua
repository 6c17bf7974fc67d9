-- Takes the mark away if it is still the one that was seen, so that nobody reads the contents.
-- KEYS: mark
-- ARGV: the mark seen
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
