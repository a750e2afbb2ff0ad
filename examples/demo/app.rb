# SPDX-License-Identifier: Apache-2.0
# A program that knows nothing of Middlepipe: it calls a service and says what came of it.
require "net/http"

uri = URI(ARGV.fetch(0))
$stdout.sync = true
loop do
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  outcome =
    begin
      response = Net::HTTP.get_response(uri)
      "status #{response.code}"
    rescue SystemCallError, IOError, Timeout::Error, Net::ProtocolError => e
      "error #{e.class} < #{e.class.ancestors.find { |a| a.is_a?(Class) && a.name !~ /Middlepipe/ }}: #{e.message}"
    end
  ms = (Process.clock_gettime(Process::CLOCK_MONOTONIC) - began) * 1000
  puts format("%.1f\t%s", ms, outcome)
  sleep 0.1
end
