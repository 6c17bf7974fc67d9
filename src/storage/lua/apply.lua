-- Brings the contents from one version to a later one, or does nothing. Contents that lost an entry
-- since the mark was read stay as they are: the new mark would count what is left, and hide the loss.
-- KEYS: mark, keys, callers, routes
-- ARGV: the mark that the change builds on, the new stamp, the counts of keys to set, keys to
--       remove, routes to set and routes to delete, then these: a key as hash and caller, a route as
--       model and JSON
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('HGET', KEYS[3], 'mark') ~= ARGV[1] then
    return 0
end
local keys, routes = redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[4])
local counted = string.format(':%d:%d', keys, routes)
if string.sub(ARGV[1], -#counted) ~= counted or redis.call('HLEN', KEYS[3]) ~= keys + 1 then
    return 0
end
local at = 7
local function next_argument()
    at = at + 1
    return ARGV[at - 1]
end
for _ = 1, tonumber(ARGV[3]) do
    local hash = next_argument()
    redis.call('SADD', KEYS[2], hash)
    redis.call('HSET', KEYS[3], hash, next_argument())
end
for _ = 1, tonumber(ARGV[4]) do
    local hash = next_argument()
    redis.call('SREM', KEYS[2], hash)
    redis.call('HDEL', KEYS[3], hash)
end
for _ = 1, tonumber(ARGV[5]) do redis.call('HSET', KEYS[4], next_argument(), next_argument()) end
for _ = 1, tonumber(ARGV[6]) do redis.call('HDEL', KEYS[4], next_argument()) end
local mark = ARGV[2] .. ':' .. redis.call('SCARD', KEYS[2]) .. ':' .. redis.call('HLEN', KEYS[4])
redis.call('SET', KEYS[1], mark)
redis.call('HSET', KEYS[3], 'mark', mark)
return 1
