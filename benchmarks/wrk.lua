-- One request, described by the environment, and the figures of the run as one line of JSON.
wrk.method = os.getenv("BENCH_METHOD")
wrk.body = os.getenv("BENCH_BODY")
if os.getenv("BENCH_BEARER") then
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_BEARER")
end
wrk.headers["User-Agent"] = "benchmark"
if wrk.body then
  wrk.headers["Content-Type"] = os.getenv("BENCH_CONTENT_TYPE") or "application/x-www-form-urlencoded"
end
-- With BENCH_PEOPLE: NUMBER in body or address becomes 0, 1, … BENCH_PEOPLE - 1 in turn, from another one in each run: a
-- sign-in that the end of a run breaks off counts as a failure, and five of one person would pause the account.
-- BENCH_COOKIES, a line for each of them, are sent along.
local people = tonumber(os.getenv("BENCH_PEOPLE"))
if people then
  local requests, cookies, number = {}, {}, 0
  for cookie in (os.getenv("BENCH_COOKIES") or ""):gmatch("[^\n]+") do
    cookies[#cookies + 1] = cookie
  end
  function init()
    math.randomseed(os.time())
    number = math.random(people)
    for person = 0, people - 1 do
      local path, body = wrk.path:gsub("NUMBER", person), wrk.body and wrk.body:gsub("NUMBER", person)
      wrk.headers["Cookie"] = cookies[person + 1]
      requests[person] = wrk.format(nil, path, nil, body)
    end
  end
  function request()
    number = (number + 1) % people
    return requests[number]
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "per_second": %f, "refused": %d, "broken": %d}\n',
    summary.requests,
    summary.requests / (summary.duration / 1e6),
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
