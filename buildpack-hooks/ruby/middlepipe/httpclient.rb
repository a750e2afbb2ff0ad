# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# HTTPClient behind a chain.  Loaded by middlepipe.rb as soon as the class
# exists, before its methods do.
#
# Hook is prepended: do_get_block and do_get_stream are one attempt each (a
# retry and a redirect come through again), do_get_header is the moment between
# head and body.  HTTPClient connects only when it has a request, so nothing else
# is needed.  What a test has put into test_loopback_* is left alone.

require "#{__dir__}/common.rb"

module Middlepipe
  module HTTPClientHook
    DRAIN_MAX = 65_536 # bytes of a body that is read for the sake of its connection

    # In front of HTTPClient's own methods.
    module Hook
      private

      def do_get_block(req, proxy, conn, &block)
        exchange = middlepipe_exchange(req)
        return super unless exchange

        exchange.run(conn, block, false) { super(req, proxy, conn, &block) }
      end

      def do_get_stream(req, proxy, conn)
        exchange = middlepipe_exchange(req)
        return super unless exchange

        exchange.run(conn, nil, true) { super(req, proxy, conn) }
      end

      def do_get_header(req, res, sess)
        exchange = req.instance_variable_get(:@middlepipe)
        exchange&.sent(res)
        super
        exchange&.head(res, sess, @session_manager)
      end

      def middlepipe_exchange(req)
        HTTPClientHook.complete
        return if req.instance_variable_get(:@middlepipe)
        return unless @test_loopback_response.empty? && @session_manager.test_loopback_http_response.empty?

        Exchange.open(req)
      end
    end

    # In front of HTTPClient::SessionManager's own.
    module ManagerHook
      private

      def get_cached_session(site)
        session = super
        session.middlepipe_reused = true if session
        session
      end
    end

    # In front of HTTPClient::Session's own.
    module SessionHook
      # Whether it has served a request before; who wants to stand before its body.
      attr_accessor :middlepipe_reused, :middlepipe_reader

      def get_body(&block)
        reader = @middlepipe_reader
        return super unless reader

        @middlepipe_reader = nil
        reader.call(block, proc { |inner| super(&inner) })
      end
    end

    # One attempt.
    class Exchange
      # Saved of a request that is edited: HTTPClient uses it for the next attempt too.
      Saved = Struct.new(:items, :uri, :body, :body_size, :chunked)

      def self.open(req)
        call = Call.new
        uri = req.header.request_uri
        step = call.enter(uri.hostname, uri.port, uri.scheme.to_s.casecmp?("https"), uri.path)
        step && new(call, req, step)
      end

      def initialize(call, req, step)
        @call = call
        @req = req
        @step = step
      end

      # Yields to make the attempt.
      def run(conn, block, stream)
        begin
          @req.instance_variable_set(:@middlepipe, self)
          answer = judge unless @step == Call::PLAIN
          result = yield unless answer
        rescue Exception => e # rubocop:disable Lint/RescueException
          @call.failed(kind(e))
          raise
        ensure
          @call.leave
          @req.remove_instance_variable(:@middlepipe)
          restore if @saved
        end
        answer ? deliver(answer, conn, block, stream) : result
      end

      # Wherever it went: the response and its cookies are of the address that
      # the application had called.
      def sent(res)
        return unless @saved

        @req.header.request_uri = res.header.request_uri = @saved.uri
      end

      # The head of the response is there, its body is not.
      def head(res, session, manager)
        @res = res
        wanted = @call.status(res.status)
        res.header.delete("Middlepipe") # only ours count
        return unless wanted

        @session = session
        @manager = manager
        @bodies = @call.wants?(Call::RESPONSE_BODY)
        @call.wants?(Call::DECIDE) ? decide : copy
      end

      # A response of HTTPClient's own, with the answer's header.
      def response(answer, content)
        fill_header(::HTTP::Message.new_response(content, @req.header), answer)
      end

      def head?
        @req.header.request_method == "HEAD"
      end

      private

      def kind(error)
        stale = error.is_a?(::HTTPClient::KeepAliveDisconnected) && error.sess&.middlepipe_reused
        # A kept connection that the service had closed: HTTPClient makes another.
        stale ? Call::CANCELLED : Middlepipe.error_kind(error)
      end

      # ------------------------------------------------------------- request

      def judge
        return Answer.new(@call) if @step == Call::REPLY

        capture
        case @step == Call::ASK ? @call.ask : Call::PASSED
        when Call::ANSWERED then Answer.new(@call)
        when Call::EDITED
          edit
          nil
        end
      end

      def fields(message)
        message.header.all.map { |name, value| [name.to_s, value.to_s] }
      end

      def authority
        uri = @req.header.request_uri
        @req.header["Host"].first || (uri.port == uri.default_port ? uri.host : "#{uri.host}:#{uri.port}")
      end

      def capture
        header = @req.header
        body, complete = @call.wants?(Call::REQUEST_BODY) ? body_of : nil
        @call.capture(header.request_method, header.request_uri.scheme.to_s.casecmp?("https"), authority,
                      header.create_query_uri, fields(@req), body, complete)
      end

      def body_of
        content = @req.http_body&.content
        return [content, true] if content.nil? || content.is_a?(String)

        ::HTTP::Message.file?(content) ? Middlepipe.peek_stream(content) : [nil, false]
      end

      def edit
        edits, authority, path, body, _status, delay = @call.edits
        save
        edit_header(@req.header, edits)
        @req.header.define_singleton_method(:create_query_uri) { path } if path
        move(authority) if authority
        edit_body(body) if body
        Kernel.sleep(delay) if delay
      end

      def edit_header(header, edits)
        edits.each do |op, name, value|
          next if Answer::FRAMING.include?(name.downcase)

          case op
          when :set then header.set(name, value)
          when :add then header.add(name, value)
          when :remove then header.delete(name)
          end
        end
      end

      def move(authority)
        header = @req.header
        uri = header.request_uri.dup
        uri.hostname, uri.port = Middlepipe.split_authority(authority, uri.default_port)
        header.request_uri = uri
        header.set("Host", authority)
      end

      def edit_body(bytes)
        @req.header.chunked = false
        @req.http_body = ::HTTP::Message::Body.new.init_request(bytes)
      end

      def save
        header = @req.header
        @saved = Saved.new(header.all.map(&:dup), header.request_uri, @req.http_body, header.body_size,
                           header.chunked)
      end

      def restore
        header = @req.header
        header.all.replace(@saved.items)
        header.request_uri = @saved.uri
        @req.http_body = @saved.body
        header.body_size = @saved.body_size
        header.chunked = @saved.chunked
        # Makes the library add its own fields again.
        header.instance_variable_set(:@dumped, false)
        singleton = header.singleton_class
        singleton.send(:remove_method, :create_query_uri) if singleton.method_defined?(:create_query_uri, false)
      end

      # ------------------------------------------------------------ response

      def copy
        return @call.respond(fields(@res), nil, false) unless @bodies

        bytes = "".b
        size = 0
        limit = Call.body_limit
        @session.middlepipe_reader = lambda do |block, read|
          read.call(proc do |part|
            bytes << part.b if bytes.bytesize < limit
            size += part.bytesize
            block.call(part)
          end)
          @call.respond(fields(@res), bytes, size <= limit)
        end
      end

      def decide
        body, complete = @bodies ? prefetch : nil
        case @call.respond(fields(@res), body, complete)
        when Call::ANSWERED then answer(Answer.new(@call))
        when Call::EDITED
          edits, _authority, _path, bytes, status, = @call.edits
          edit_header(@res.header, edits)
          set_status(@res, status) if status
          replace(bytes) if bytes
        end
      end

      # Reads as much of the body as a chain is shown, for the application to
      # have it again.  A body that is being unpacked cannot be read in two parts.
      def prefetch
        return [nil, false] if unpacked? || @res.content_type.to_s.start_with?("text/event-stream")

        parts = []
        size = 0
        limit = Call.body_limit
        @session.get_body do |part|
          parts << part.dup
          size += part.bytesize
          break if size > limit
        end
        @session.middlepipe_reader = lambda do |block, rest|
          parts.each(&block)
          rest.call(block)
        end
        [parts.map(&:b).join, size <= limit]
      end

      def unpacked?
        @session.transparent_gzip_decompression && !@res.header["Content-Encoding"].empty?
      end

      def answer(answer)
        if answer.raise?
          discard
          @manager.keep(@session) unless @session.closed?
          raise HTTPClientRefused.new(authority, answer, self)
        end
        @res.header.all.clear
        fill_header(@res, answer)
        replace(head? ? "" : answer.body)
      end

      def fill_header(message, answer)
        set_status(message, answer.status, answer.reason)
        message.header.set_headers(answer.fields)
        message
      end

      def set_status(message, status, reason = Answer::REASONS.fetch(status, ""))
        message.status = status
        message.reason = reason
      end

      def replace(bytes)
        @res.header.delete("Transfer-Encoding")
        @res.header.set("Content-Length", bytes.bytesize.to_s)
        discard
        @session.middlepipe_reader = lambda do |block, rest|
          rest.call(proc {})
          block.call(bytes) unless bytes.empty?
        end
      end

      # Reads the body so that the connection can be kept, unless it may take long.
      def discard
        @session.middlepipe_reader = nil
        left = @session.instance_variable_get(:@content_length)
        left && left <= DRAIN_MAX ? @session.get_body {} : @session.close
      end

      # -------------------------------------------------------------- answer

      def deliver(answer, conn, block, stream)
        raise HTTPClientRefused.new(authority, answer, self) if answer.raise?

        body = head? ? +"" : answer.body
        return deliver_stream(answer, conn, body) if stream

        res = response(answer, block ? nil : body)
        body.force_encoding(res.body_encoding) if res.body_encoding
        conn.push(res)
        block.call(res, body.dup) if block && !body.empty?
        res
      end

      # As the library does it: the reader may start before all is written.
      def deliver_stream(answer, conn, body)
        reader, writer = IO.pipe
        writer.binmode
        res = response(answer, reader)
        conn.push(res)
        writer.write(body)
        writer.close
        res
      end
    end

    class << self
      # At the first call: when the class is opened, these are not there yet.
      def complete
        return if @complete

        @complete = true
        ::HTTPClient::Session.prepend(SessionHook)
        ::HTTPClient::SessionManager.prepend(ManagerHook)
        Middlepipe.const_set(:HTTPClientRefused, refused_class)
      end

      private

      # What HTTPClient raises when a middlepipe refuses; it does not try again after it.
      def refused_class
        Class.new(::HTTPClient::BadResponseError) do
          include Refused

          def initialize(authority, answer, exchange)
            refused_by(answer) { exchange.response(answer, exchange.head? ? "" : answer.body) }
            super(Refused.message(authority, answer))
          end

          # HTTPClient's own name for it.
          def res
            response
          end
        end
      end
    end

    ::HTTPClient.prepend(Hook)
  end
end
