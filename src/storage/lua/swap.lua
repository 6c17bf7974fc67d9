-- Puts contents that were written aside into place, unless newer ones are there already.
-- KEYS: mark; keys, callers, routes; the same staged; names to put the old ones under
-- ARGV: epoch, version, how many keys (and callers) and how many routes were staged
local mark = redis.call('GET', KEYS[1])
if mark then
    local epoch, version = string.match(mark, '^([^:]+):(%d+):')
    if epoch == ARGV[1] and tonumber(version) > tonumber(ARGV[2]) then
        return 0
    end
end
local keys, routes = tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('SCARD', KEYS[5]) ~= keys or redis.call('HLEN', KEYS[6]) ~= keys or redis.call('HLEN', KEYS[7]) ~= routes then
    return redis.error_reply('the staged contents are not whole any more')
end
local function replace(live, staged, old)
    if redis.call('EXISTS', live) == 1 then
        -- RENAME onto it would free it at once, and block for as long as that takes.
        redis.call('RENAME', live, old)
        redis.call('UNLINK', old)
    end
    if redis.call('EXISTS', staged) == 1 then
        redis.call('RENAME', staged, live)
        redis.call('PERSIST', live)
    end
end
for live = 2, 4 do
    replace(KEYS[live], KEYS[live + 3], KEYS[live + 6])
end
mark = table.concat(ARGV, ':')
redis.call('SET', KEYS[1], mark)
redis.call('HSET', KEYS[3], 'mark', mark)
return 1
