# SPDX-License-Identifier: Apache-2.0
#
# The Ruby client of the bench: keep-alive GETs with Net::HTTP.
#
#   client.rb URL
#
# Reads a number a line on standard input, makes that many calls one after
# another, and prints one JSON object: how many, p50 and p99 in microseconds,
# its own CPU time in microseconds, and how many did not end with 200.  It knows
# nothing of proxies or hooks.
require "json"
require "net/http"

def clock(id = Process::CLOCK_MONOTONIC)
  Process.clock_gettime(id, :nanosecond)
end

def run(http, path, calls)
  failed = 0
  cpu = clock(Process::CLOCK_PROCESS_CPUTIME_ID)
  took = Array.new(calls) do
    start = clock
    response = http.get(path, "Accept" => "application/json")
    failed += 1 if response.code != "200"
    clock - start
  end
  cpu = clock(Process::CLOCK_PROCESS_CPUTIME_ID) - cpu
  took.sort!
  { n: calls, p50: took[calls / 2] / 1e3, p99: took[calls * 99 / 100] / 1e3, cpu: cpu / 1e3, failed: failed }
end

$stdout.sync = true
url = URI(ARGV[0])
Net::HTTP.start(url.host, url.port, nil, keep_alive_timeout: 60) do |http|
  while (line = $stdin.gets)
    GC.start
    puts JSON.generate(run(http, url.path, line.to_i))
  end
end
