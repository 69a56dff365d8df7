-- One request, described by the environment, and the figures of the run as one line of JSON.
wrk.method = os.getenv("BENCH_METHOD")
wrk.body = os.getenv("BENCH_BODY") -- NUMBER in it becomes 0, 1, … BENCH_PEOPLE - 1 in turn
if os.getenv("BENCH_BEARER") then
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_BEARER")
end
if wrk.body then
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  local people, number = tonumber(os.getenv("BENCH_PEOPLE")), 0
  function request()
    number = (number + 1) % people
    return wrk.format(nil, nil, nil, (wrk.body:gsub("NUMBER", number)))
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"per_second": %f, "refused": %d, "broken": %d}\n',
    summary.requests / (summary.duration / 1e6),
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
