# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# What the hooks of all libraries share: the names of errors, the reply of a
# chain, and the edits that it makes.  Knows no library; loaded with the first.

module Middlepipe
  # In every error that a middlepipe raises, whatever class of the library's own
  # the error is.
  module Refused
    # Names of the middlepipe, of its type and state ("open"), as text or nil.
    attr_reader :pipe, :type, :state
    # Seconds after which it is worth trying again, or nil.
    attr_reader :retry_after

    def self.message(authority, answer)
      text = "[#{authority}] middlepipe"
      name = answer.pipe || answer.type || "chain"
      text += " #{name}" unless name == "middlepipe" # all of it
      text += answer.state ? " is #{answer.state}" : " refused the call"
      text += ", retry after #{answer.retry_after} s" if answer.retry_after
      text
    end

    # The response that the middlepipe gave, in the library's own class.
    def response
      @response ||= @respond.call
    end

    private

    def refused_by(answer, &respond)
      @pipe = answer.pipe
      @type = answer.type
      @state = answer.state
      @retry_after = answer.retry_after
      @respond = respond
    end
  end

  # A reply of the chain, taken out of a Call before the call ends.
  class Answer
    FRAMING = %w[content-length transfer-encoding].freeze
    REASONS = {
      200 => "OK", 201 => "Created", 202 => "Accepted", 204 => "No Content",
      206 => "Partial Content", 301 => "Moved Permanently", 302 => "Found", 303 => "See Other",
      304 => "Not Modified", 307 => "Temporary Redirect", 308 => "Permanent Redirect",
      400 => "Bad Request", 401 => "Unauthorized", 403 => "Forbidden", 404 => "Not Found",
      409 => "Conflict", 410 => "Gone", 413 => "Content Too Large", 422 => "Unprocessable Content",
      429 => "Too Many Requests", 500 => "Internal Server Error", 501 => "Not Implemented",
      502 => "Bad Gateway", 503 => "Service Unavailable", 504 => "Gateway Timeout"
    }.freeze

    attr_reader :status, :body, :pipe, :type, :state, :retry_after

    def initialize(call)
      @status, @fields, @body, @raise, @pipe, @type, @state, @retry_after = call.reply
    end

    def raise?
      @raise
    end

    def reason
      REASONS.fetch(@status, "")
    end

    # The header as it would have come, framed by the length of the body.
    def fields
      framed = @fields.reject { |name, _| FRAMING.include?(name.downcase) }
      framed << ["Content-Length", @body.bytesize.to_s] unless [204, 304].include?(@status)
      framed
    end
  end

  # Kinds of failure, by the class of the error or the nearest class above it.
  # Names, because most of these classes may never be loaded.
  ERRORS = {
    "Errno::ECONNREFUSED" => Call::REFUSED, "Errno::EHOSTUNREACH" => Call::REFUSED,
    "Errno::ENETUNREACH" => Call::REFUSED, "Errno::EADDRNOTAVAIL" => Call::REFUSED,
    "Errno::ENOENT" => Call::REFUSED, "SocketError" => Call::REFUSED,
    "Net::OpenTimeout" => Call::TIMEOUT, "Net::ReadTimeout" => Call::TIMEOUT,
    "Net::WriteTimeout" => Call::TIMEOUT, "HTTPClient::TimeoutError" => Call::TIMEOUT,
    "Errno::ETIMEDOUT" => Call::TIMEOUT, "IO::TimeoutError" => Call::TIMEOUT,
    "EOFError" => Call::BROKEN, "Errno::ECONNRESET" => Call::BROKEN,
    "Errno::ECONNABORTED" => Call::BROKEN, "Errno::EPIPE" => Call::BROKEN,
    "Errno::ENOTCONN" => Call::BROKEN, "HTTPClient::KeepAliveDisconnected" => Call::BROKEN,
    "OpenSSL::OpenSSLError" => Call::PROTOCOL, "Net::HTTPBadResponse" => Call::PROTOCOL,
    "Net::HTTPHeaderSyntaxError" => Call::PROTOCOL, "Net::ProtocolError" => Call::PROTOCOL,
    "Zlib::Error" => Call::PROTOCOL, "HTTPClient::BadResponseError" => Call::PROTOCOL,
    # Timeout.timeout around a call, and all that is no StandardError: the application's will.
    "Timeout::Error" => Call::CANCELLED, "StandardError" => Call::OTHER,
    "Exception" => Call::CANCELLED
  }.freeze

  class << self
    # Which kind the error is, for the one exchange that it belongs to: an error
    # that comes from a call made within a block of another call is not both's.
    def error_kind(error)
      return Call::OTHER if Refused === error || error.instance_variable_get(:@middlepipe_counted)

      error.instance_variable_set(:@middlepipe_counted, true) unless error.frozen?
      error.class.ancestors.each do |above|
        kind = ERRORS[above.name]
        return kind if kind
      end
      Call::OTHER
    end

    # [host, port] of an authority.
    def split_authority(authority, default_port)
      host, port = authority.match(/\A(\[[^\]]*\]|[^:]*)(?::(\d+))?\z/)&.captures
      [host.to_s.delete("[]"), port ? port.to_i : default_port]
    end

    # A request's body as far as a chain may see it: [string, whether it is all].
    # A stream is read only when it can be put back to where it was.
    def peek_stream(stream)
      limit = Call.body_limit
      position = stream.pos
      stream.pos = position
      data = stream.read(limit + 1)
      stream.pos = position
      data.to_s.bytesize > limit ? [data, false] : [data.to_s, true]
    rescue StandardError
      [nil, false]
    end
  end

  # Raised within the library to get out of its retry loop with an answer; never
  # reaches the application.
  class Answered < StandardError
    attr_reader :answer

    def initialize(answer)
      super("answered")
      @answer = answer
    end
  end
end
