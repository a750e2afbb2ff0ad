# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# Net::HTTP behind a chain.  Loaded by middlepipe.rb as soon as the class
# exists, before its methods do.
#
# Hook is prepended.  request is one call of the application and makes one
# exchange for each attempt that Net::HTTP makes; do_start looks after start,
# which connects before there is a request.  What is rare is in Exchange (the
# request) and Shown (the response, net_http_response.rb): through a chain that
# only observes, a call costs three short calls into C.
#
# It relies on these of net/http.rb, alike in all Rubies from 2.7: request yields
# the response between its head and its body; transport_request calls
# begin_transport before each attempt, which connects a socket that is closed,
# and reads max_retries when an attempt has failed.

require "#{__dir__}/common.rb"
require "#{__dir__}/net_http_response.rb"

module Middlepipe
  # What Net::HTTP raises when a middlepipe refuses; not among the errors after
  # which it tries again.
  class NetHTTPRefused < ::Net::ProtocolError
    include Refused

    def initialize(http, request, answer)
      refused_by(answer) { NetHTTP.synthesize(http, request, answer) {} }
      super(Refused.message(NetHTTP.authority(http), answer))
    end
  end

  module NetHTTP
    AWAY_MAX = 8 # connections kept to authorities that a chain chose

    # In front of Net::HTTP's own methods.
    module Hook
      def request(req, body = nil)
        call = (@middlepipe ||= NetHTTP.call_for(self))
        return super unless (step = call.enter(@address, @port, @use_ssl, req.path))

        result = other = nil
        begin
          result, req, body = Exchange.begin(self, call, req, body, step) unless step == Call::PLAIN
          result ||= super(req, body) do |res|
            if call.head(res)
              other = Shown.new(self, call, req, res).show { |shown| yield shown if block_given? }
            elsif block_given?
              yield res
            end
          end
        rescue Answered => e
          result = e.answer
        rescue Exception => e # rubocop:disable Lint/RescueException
          @middlepipe_again = nil
          call.failed(Middlepipe.error_kind(e))
          raise
        ensure
          call.leave
          middlepipe_return if @middlepipe_home
        end
        result = other if other
        return result unless Answer === result

        NetHTTP.deliver(self, req, result) { |res| yield res if block_given? }
      end

      # Read by transport_request when an attempt has failed in a way after which
      # it may make another; and by applications.
      def max_retries
        @middlepipe_again = $! if @middlepipe && @middlepipe.live?
        super
      end

      private

      def begin_transport(req)
        if @middlepipe_again
          error = @middlepipe_again
          @middlepipe_again = nil
          Exchange.again(self, @middlepipe, req, error)
        end
        super
      end

      # start, get_response and the like connect first.  While a question or a
      # reply stands for the destination, each request shall be judged before.
      def do_start
        call = (@middlepipe ||= NetHTTP.call_for(self))
        return super if call.live?

        if call.defer?(@address, @port, @use_ssl)
          @socket = Unconnected.new(self)
          @started = true
        else
          middlepipe_counting { super }
        end
      end

      def do_finish
        super
        @middlepipe_away&.each_value { |socket, _| socket.close }
        @middlepipe_away = nil
      end

      # A connection that no request has asked for, and that fails, is a call too.
      def middlepipe_counting
        since = Call.now
        yield
      rescue Exception => e # rubocop:disable Lint/RescueException
        @middlepipe.lost(@address, @port, @use_ssl, since, Middlepipe.error_kind(e))
        raise
      end

      # Points this object elsewhere, until middlepipe_return.
      def middlepipe_move(authority)
        host, port = Middlepipe.split_authority(authority, use_ssl? ? 443 : 80)
        return if host == @address && port == @port

        @middlepipe_home = [@address, @port, @ipaddr, @ssl_session, @socket, @last_communicated]
        @middlepipe_at = authority
        @address = host
        @port = port
        @ipaddr = @ssl_session = nil
        return unless @started

        @socket, @last_communicated = @middlepipe_away&.delete(authority)
        @socket ||= Unconnected.new(self)
      end

      def middlepipe_return
        socket = @socket
        last = @last_communicated
        @address, @port, @ipaddr, @ssl_session, @socket, @last_communicated = @middlepipe_home
        @middlepipe_home = nil
        unless @started # the application finished the session meanwhile, or had none
          @socket&.close
          @socket = nil
          return
        end
        @socket ||= Unconnected.new(self)
        return if socket.nil? || socket.closed?

        @middlepipe_away ||= {}
        @middlepipe_away.shift[1][0].close if @middlepipe_away.size == AWAY_MAX
        @middlepipe_away[@middlepipe_at] = [socket, last]
      end
    end

    # A request whose URI stays as it is, wherever the request goes.
    module Settled
      def update_uri(*); end
    end

    # Stands for the connection of a started object that was not made yet:
    # begin_transport connects a socket that is closed.
    class Unconnected
      attr_writer :read_timeout, :write_timeout, :continue_timeout, :debug_output

      def initialize(http)
        @http = http
      end

      def closed?
        true
      end

      def close; end

      # Who asks for the peer's address or certificate wants the connection.
      def io
        @http.send(:middlepipe_counting) { @http.send(:connect) }
        @http.instance_variable_get(:@socket).io
      end
    end

    # Bytes in memory, as a connection that ends after them.
    class Memory
      def initialize(bytes)
        @bytes = bytes.empty? ? nil : bytes
      end

      def read_nonblock(_size, into = nil, **)
        bytes = @bytes
        @bytes = nil
        bytes && into ? into.replace(bytes) : bytes
      end

      def closed?
        false
      end

      def close; end
    end

    class << self
      def call_for(http)
        call = Call.new
        # The gem net_http_unix says localhost to Net::HTTP.
        path = http.instance_variable_get(:@socket_path)
        call.host = "unix:#{path}" if path.is_a?(String)
        call
      end

      def authority(http)
        host = http.address.include?(":") ? "[#{http.address}]" : http.address
        http.port == (http.use_ssl? ? 443 : 80) ? host : "#{host}:#{http.port}"
      end

      def deliver(http, req, answer, &block)
        raise NetHTTPRefused.new(http, req, answer) if answer.raise?

        synthesize(http, req, answer, &block)
      end

      # The reply, read by the library itself from memory.
      def synthesize(http, req, answer)
        code = answer.status.to_s
        res = response_class(code).new("1.1", code, answer.reason)
        answer.fields.each { |name, value| res.add_field(name, value) }
        req.update_uri(http.address, http.port, http.use_ssl?)
        res.uri = req.uri
        res.decode_content = req.decode_content
        res.reading_body(connection(answer.body), req.response_body_permitted?) { yield res }
        res
      end

      def connection(bytes)
        ::Net::BufferedIO.new(Memory.new(bytes))
      end

      def response_class(code)
        ::Net::HTTPResponse.send(:response_class, code)
      end

      # The length of a body is the library's business.  On the hash itself:
      # through []= a chain's Accept-Encoding would look like the application's.
      def edit_header(header, edits)
        edits.each do |op, name, value|
          key = name.downcase
          next if Answer::FRAMING.include?(key)

          case op
          when :set then header[key] = [value]
          when :add then (header[key] ||= []) << value
          when :remove then header.delete(key)
          end
        end
      end

      def copy_header(message)
        message.instance_variable_get(:@header).transform_values(&:dup)
      end
    end

    # A request before it is sent, when its chain asks for more than the outcome.
    module Exchange
      BODIES = %i[@body @body_stream @body_data].freeze

      class << self
        # [answer or nil, request to send, body to send with it]
        def begin(http, call, req, body, step)
          return [Answer.new(call), req, body] if step == Call::REPLY

          req.set_body_internal(body)
          capture(http, call, req)
          case step == Call::ASK ? call.ask : Call::PASSED
          when Call::ANSWERED then [Answer.new(call), req, nil]
          when Call::EDITED then [nil, edited(http, call, req), nil]
          else [nil, req, nil]
          end
        end

        # Before another attempt: the last exchange is over, another begins.
        def again(http, call, req, error)
          kind = Middlepipe.error_kind(error)
          # A kept connection that the service had closed says nothing of it.
          kind = Call::CANCELLED if kind == Call::BROKEN && http.instance_variable_get(:@last_communicated)
          http.send(:middlepipe_return) if http.instance_variable_get(:@middlepipe_home)
          source = req.instance_variable_get(:@middlepipe_source) || req
          step = call.again(kind, http.address, http.port, http.use_ssl?, source.path)
          rewrite(req, source, [], nil, nil) unless source.equal?(req)
          return if step.nil? || step == Call::PLAIN

          judge_again(http, call, req, source, step)
        end

        private

        def judge_again(http, call, req, source, step)
          raise Answered, Answer.new(call) if step == Call::REPLY

          capture(http, call, source)
          case step == Call::ASK ? call.ask : Call::PASSED
          when Call::ANSWERED then raise Answered, Answer.new(call)
          when Call::EDITED then edit(http, call, req, source)
          end
        end

        def capture(http, call, req)
          body, complete = call.wants?(Call::REQUEST_BODY) ? body_of(req) : nil
          call.capture(req.method, http.use_ssl?, req["host"] || NetHTTP.authority(http), req.path,
                       req, body, complete)
        end

        def body_of(req)
          return [req.body, true] if req.body
          return Middlepipe.peek_stream(req.body_stream) if req.body_stream

          [nil, !req.instance_variable_get(:@body_data)]
        end

        # The application keeps its request as it made it.
        def edited(http, call, req)
          copy = req.dup
          copy.instance_variable_set(:@middlepipe_source, req)
          edit(http, call, copy, req)
          copy
        end

        def edit(http, call, req, source)
          edits, authority, path, body, _status, delay = call.edits
          rewrite(req, source, edits, path, body)
          move(http, req, source, authority) if authority
          Kernel.sleep(delay) if delay
        end

        def rewrite(req, source, edits, path, body)
          header = NetHTTP.copy_header(source)
          closing = req.instance_variable_get(:@header)["connection"]
          header["connection"] ||= closing if closing # set by request after the copy was made
          NetHTTP.edit_header(header, edits)
          req.instance_variable_set(:@header, header)
          req.instance_variable_set(:@path, path || source.path)
          BODIES.each { |name| req.instance_variable_set(name, source.instance_variable_get(name)) }
          req.body = body if body
        end

        # The response shall name the address that the application had called.
        def move(http, req, source, authority)
          source.update_uri(http.address, http.port, http.use_ssl?)
          req.instance_variable_set(:@uri, source.uri)
          req.extend(Settled)
          req["host"] = authority
          http.send(:middlepipe_move, authority)
        end
      end
    end

    ::Net::HTTP.prepend(Hook)
  end
end
