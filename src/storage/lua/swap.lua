-- Puts contents that were written aside into place, unless newer ones are there already.
-- KEYS: mark, keys, routes, staged keys, staged routes, old keys, old routes
-- ARGV: epoch, version, how many keys and how many routes were staged
local mark = redis.call('GET', KEYS[1])
if mark then
    local epoch, version = string.match(mark, '^([^:]+):(%d+):')
    if epoch == ARGV[1] and tonumber(version) > tonumber(ARGV[2]) then
        return 0
    end
end
if redis.call('SCARD', KEYS[4]) ~= tonumber(ARGV[3]) or redis.call('HLEN', KEYS[5]) ~= tonumber(ARGV[4]) then
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
replace(KEYS[2], KEYS[4], KEYS[6])
replace(KEYS[3], KEYS[5], KEYS[7])
redis.call('SET', KEYS[1], table.concat(ARGV, ':'))
return 1
