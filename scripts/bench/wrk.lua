-- Sends one POST again and again, or each of many in turn, and prints the outcome as JSON.
-- Arguments: a file of headers ("Name: value" lines), a file with the body, and optionally a file
-- of lines "KEY MODEL", of which each request takes the next.
local requests = {}
local at = 0

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init(arguments)
  wrk.method = "POST"
  wrk.body = read(arguments[2])
  for name, value in read(arguments[1]):gmatch("([^:\n]+): ([^\n]*)") do
    wrk.headers[name] = value
  end
  if arguments[3] then
    local before, after = wrk.body:match('^(.*"model":")bench(".*)$')
    for key, model in read(arguments[3]):gmatch("(%S+) (%S+)\n") do
      wrk.headers["Authorization"] = "Bearer " .. key
      wrk.body = before .. model .. after
      requests[#requests + 1] = wrk.format()
    end
  else
    requests[1] = wrk.format()
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "failed": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
