-- Brings the contents from one version to a later one, or does nothing. Contents that lost an entry
-- since the mark was read stay as they are: the new mark would count what is left, and hide the loss.
-- KEYS: mark, keys, routes
-- ARGV: the mark that the change builds on, the new stamp, the counts of keys to add, keys to
--       remove, routes to set and routes to delete, then these, a route as model and JSON
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
local counted = string.format(':%d:%d', redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[3]))
if string.sub(ARGV[1], -#counted) ~= counted then
    return 0
end
local at = 7
local function next_argument()
    at = at + 1
    return ARGV[at - 1]
end
for _ = 1, tonumber(ARGV[3]) do redis.call('SADD', KEYS[2], next_argument()) end
for _ = 1, tonumber(ARGV[4]) do redis.call('SREM', KEYS[2], next_argument()) end
for _ = 1, tonumber(ARGV[5]) do redis.call('HSET', KEYS[3], next_argument(), next_argument()) end
for _ = 1, tonumber(ARGV[6]) do redis.call('HDEL', KEYS[3], next_argument()) end
local counts = redis.call('SCARD', KEYS[2]) .. ':' .. redis.call('HLEN', KEYS[3])
redis.call('SET', KEYS[1], ARGV[2] .. ':' .. counts)
return 1
