# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# An application: takes steps from standard input, a JSON line each, and prints
# what came of each as a JSON line.  Knows nothing of Middlepipe but what an
# application may know of an error.
#
# A step is {"do": NAME, ...}, a method of Steps with the rest as its keywords:
# a call by one of the libraries, or something that happens around calls.
# Connections that are to be kept are kept under their "key".

require "json"

class Steps
  def initialize
    @kept = {}
  end

  # What the scripted library says from now on, see scripted.c.
  def script(text:)
    File.write(ENV.fetch("MP_SCRIPT"), text)
    nil
  end

  # -------------------------------------------------------------- Net::HTTP

  def get_response(url:, headers: {}, stream: false)
    read = nil
    uri = URI(url)
    res = Net::HTTP.get_response(uri, headers) { |r| read = segments(r) if stream }
    net(res, read)
  end

  # new(host, port).request(...) without start: connects and closes.
  def once(url:, verb: "GET", body: nil, headers: {}, stream: false, timeout: 20)
    http = build(URI(url), timeout)
    request(http, URI(url), verb, body, headers, stream)
  end

  # start without a block, kept.
  def kept(url:, key: "a", verb: "GET", body: nil, headers: {}, stream: false, timeout: 20, retries: 1, times: 1)
    uri = URI(url)
    http = (@kept[key] ||= build(uri, timeout).tap { |h| h.max_retries = retries }.start)
    results = Array.new(times) { request(http, uri.request_uri, verb, body, headers, stream) }
    results.last
  end

  def finish(key: "a")
    @kept.delete(key).finish
    nil
  end

  # A request with a stream as body: a file, text or a pipe.
  def upload(url:, from: "text", text: "", chunked: false)
    require "stringio"
    uri = URI(url)
    stream = from == "pipe" ? pipe(text) : StringIO.new(+text)
    stream = File.open(from.delete_prefix("file:")) if from.start_with?("file:")
    req = Net::HTTP::Post.new(uri)
    req["Content-Type"] = "application/octet-stream"
    chunked ? req["Transfer-Encoding"] = "chunked" : req.content_length = stream.respond_to?(:size) ? stream.size : text.bytesize
    req.body_stream = stream
    net(build(uri, 20).start { |http| http.request(req) })
  end

  def form(url:, fields:)
    uri = URI(url)
    net(Net::HTTP.post_form(uri, fields))
  end

  # The same request object twice: what a chain edits must not stay in it.
  def reuse(url:)
    uri = URI(url)
    req = Net::HTTP::Get.new(uri.request_uri, "X-Own" => "1")
    http = build(uri, 20)
    2.times { http.start { http.request(req) } }
    { "fields" => req.to_hash, "path" => req.path }
  end

  # What an application can ask a started connection before its first request.
  def started(url:)
    uri = URI(url)
    http = build(uri, 5)
    http.start
    out = { "started" => http.started?, "peer" => http.use_ssl? ? http.peer_cert.subject.to_s : nil }
    http.finish
    out.merge("finished" => !http.started?)
  end

  def start_only(url:)
    build(URI(url), 5).start { |http| { "started" => http.started? } }
  end

  # Leaves the call from within its block, in one of several ways.
  def leave(url:, how:)
    http = build(URI(url), 20)
    case how
    when "break" then http.start { http.request_get("/") { break } }
    when "throw" then catch(:out) { http.start { http.request_get("/") { throw :out } } }
    when "raise" then http.start { http.request_get("/") { raise ArgumentError, "mine" } }
    when "timeout"
      require "timeout"
      Timeout.timeout(1) { http.get("/") }
    when "kill"
      thread = Thread.new { http.get("/") }
      thread.report_on_exception = false
      sleep 0.01 until thread.status == "sleep"
      thread.kill.join
    end
    { "left" => how }
  end

  # A call that fails within the block of another that does not.
  def nested(url:, inner:)
    http = build(URI(url), 20)
    http.start { http.request_get("/") { Net::HTTP.get(URI(inner)) } }
  end

  def open_uri(url:)
    require "open-uri"
    { "status" => "200", "body" => URI.parse(url).read }
  end

  def proxied(url:, proxy:)
    uri = URI(url)
    via = URI(proxy)
    http = Net::HTTP.new(uri.hostname, uri.port, via.hostname, via.port)
    net(http.start { http.get(uri.request_uri) })
  end

  # As the gem net_http_unix does it.
  def unix(path:, target: "/")
    require "net/http"
    http = Class.new(Net::HTTP) do
      def initialize(path)
        super("localhost", 80)
        @socket_path = path
      end

      def connect
        @socket = Net::BufferedIO.new(UNIXSocket.new(@socket_path))
      end

      def self.new(path)
        allocate.tap { |http| http.send(:initialize, path) }
      end
    end.new(path)
    net(http.start { http.get(target) })
  end

  # ------------------------------------------------------------- HTTPClient

  def client(url:, verb: "GET", body: nil, headers: {}, stream: false, file: nil, key: "c")
    require "httpclient"
    http = (@kept[key] ||= HTTPClient.new)
    http.ssl_config.verify_mode = OpenSSL::SSL::VERIFY_NONE
    read = []
    options = { header: headers, body: file ? File.open(file) : body }
    res = if stream
            http.request(verb, url, **options) { |part| read << part }
          else
            http.request(verb, url, **options)
          end
    message(res, stream ? read : nil)
  end

  def client_async(url:, key: "c")
    require "httpclient"
    http = (@kept[key] ||= HTTPClient.new)
    message(http.get_async(url).pop)
  end

  def client_loopback(url:)
    http = HTTPClient.new
    http.test_loopback_response << "canned"
    message(http.get(url))
  end

  # ------------------------------------------------------------- around calls

  def many(url:, threads:, calls:)
    results = Array.new(threads) do
      Thread.new { Array.new(calls) { attempt { get_response(url: url) } } }
    end.flat_map(&:value)
    { "results" => results.group_by { |r| r["error"] || r["status"] }.transform_values(&:size) }
  end

  # Children that inherit a started connection's process but call for themselves.
  def forked(url:, children:, calls:)
    get_response(url: url)
    pids = Array.new(children) do
      fork { exit!(Array.new(calls) { attempt { get_response(url: url) } }.all? { |r| r["status"] == "200" } ? 0 : 1) }
    end
    { "exits" => pids.map { |pid| Process.wait2(pid)[1].exitstatus }, "parent" => get_response(url: url)["status"] }
  end

  # A child is made, and leaves, while the parent is within a call.
  def fork_within(url:)
    uri = URI(url)
    exits = nil
    Net::HTTP.start(uri.hostname, uri.port) do |http|
      http.request_get("/") do
        pid = fork { Kernel.exit(get_response(url: url)["status"] == "200" ? 0 : 1) }
        exits = Process.wait2(pid)[1].exitstatus
      end
    end
    { "exit" => exits, "after" => get_response(url: url)["status"] }
  end

  def exit_within(url:, how: "exit")
    uri = URI(url)
    Net::HTTP.get_response(uri) { how == "exit" ? Kernel.exit(7) : Process.exit!(7) }
  end

  # What there is of Middlepipe, and of the libraries.
  def loaded
    http = defined?(Net::HTTP) && Net::HTTP
    { "features" => $LOADED_FEATURES.reject { |f| f.include?("/middlepipe") }.sort,
      "gems" => defined?(Gem) ? Gem.loaded_specs.keys : [],
      "middlepipe" => defined?(Middlepipe) ? true : false,
      "patched" => http ? http.ancestors.take_while { |a| a != http }.map(&:to_s) : nil }
  end

  def double(url:, cassette: nil)
    require "webmock"
    WebMock.enable!
    WebMock.allow_net_connect!
    WebMock::API.stub_request(:get, "http://stubbed.test/").to_return(body: "stubbed")
    return recorded(url, cassette) if cassette

    { "net" => get_response(url: "http://stubbed.test/")["body"], "client" => client(url: "http://stubbed.test/")["body"],
      "real" => attempt { get_response(url: url) }, "real_client" => attempt { client(url: url) } }
  end

  def counters
    Middlepipe::Call.counters
  end

  def attempt
    yield
  rescue StandardError => e
    failure(e)
  end

  private

  def recorded(url, folder)
    require "vcr"
    VCR.configure do |vcr|
      vcr.cassette_library_dir = folder
      vcr.hook_into :webmock
    end
    Array.new(2) { VCR.use_cassette("calls") { attempt { get_response(url: url) } } }
         .then { |first, second| { "first" => first["body"], "second" => second["body"] } }
  end

  # Net::HTTP is loaded by the first step that uses it.
  def URI(text)
    require "net/http"
    Kernel.URI(text)
  end

  def build(uri, timeout)
    require "net/http"
    http = Net::HTTP.new(uri.hostname, uri.port)
    http.open_timeout = http.read_timeout = timeout
    if uri.scheme == "https"
      require "openssl"
      http.use_ssl = true
      http.verify_mode = OpenSSL::SSL::VERIFY_NONE
    end
    http
  end

  def request(http, where, verb, body, headers, stream)
    req = Net::HTTPGenericRequest.new(verb, !body.nil?, verb != "HEAD", where, headers)
    req["Content-Type"] = "text/plain" if body
    read = nil
    res = http.request(req, body) { |r| read = segments(r) if stream }
    net(res, read)
  end

  def segments(res)
    parts = []
    res.read_body { |part| parts << part.dup }
    parts
  end

  def pipe(text)
    reader, writer = IO.pipe
    Thread.new { writer.write(text) && writer.close }
    reader
  end

  def net(res, read = nil)
    { "class" => res.class.name, "status" => res.code, "message" => res.message,
      "body" => read ? read.join : res.body, "fields" => res.to_hash, "uri" => res.uri.to_s,
      "again" => begin; res.read_body {}; rescue IOError => e; e.message; end }
  end

  def message(res, read = nil)
    content = res.content
    content = content.read if content.respond_to?(:read)
    { "class" => res.class.name, "status" => res.status.to_s, "message" => res.reason, "body" => read ? read.join : content,
      "fields" => res.header.all.each_with_object({}) { |(k, v), h| (h[k.downcase] ||= []) << v },
      "uri" => res.header.request_uri.to_s }
  end

  def failure(error)
    out = { "error" => error.class.name, "text" => error.message, "kinds" => error.class.ancestors.map(&:to_s) }
    return out unless error.respond_to?(:retry_after)

    out.merge("pipe" => error.pipe, "type" => error.type, "state" => error.state, "retry_after" => error.retry_after,
              "response" => error.response.respond_to?(:content) ? message(error.response) : net(error.response))
  end
end

$stdout.sync = true
steps = Steps.new
$stdin.each_line do |line|
  step = JSON.parse(line, symbolize_names: true)
  name = step.delete(:do)
  puts JSON.generate(steps.attempt { steps.public_send(name, **step) })
end
