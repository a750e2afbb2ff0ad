# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# Responses of Net::HTTP that a chain wants to see, or decides on, between their
# head and their body.  Used by Hook#request in net_http.rb only, and only for
# such chains.  A body is never taken from the application: it is looked at in
# the connection's buffer, or copied while the application reads it.

module Middlepipe
  module NetHTTP
    # A response between head and body, when its chain wants to see it.
    class Shown
      WAIT = 1.0          # seconds that a body may take until a chain decides without it
      DRAIN_MAX = 65_536  # bytes of a body that is read for the sake of its connection

      def initialize(http, call, req, res)
        @http = http
        @call = call
        @req = req
        @res = res
        @bodies = call.wants?(Call::RESPONSE_BODY)
      end

      # Yields the response that the application gets.  Returns nil, or what
      # takes the response's place: another, or an Answer.
      def show(&block)
        return copy(&block) unless @call.wants?(Call::DECIDE)

        body, complete = @bodies ? Peek.new(@res).body(WAIT) : nil
        case @call.respond(@res, body, complete)
        when Call::ANSWERED
          discard
          Answer.new(@call)
        when Call::EDITED then replace(&block)
        else
          yield @res
          nil
        end
      end

      private

      def copy
        unless @bodies
          @call.respond(@res, nil, false)
          yield @res
          return
        end
        @res.extend(Tapped)
        yield @res
        @res.body # which is what the library does next
        @call.respond(@res, *@res.middlepipe_tapped)
        nil
      end

      def replace(&block)
        edits, _authority, _path, body, status, = @call.edits
        other = duplicate(status, edits)
        body ? fill(other, body, &block) : hand_over(other, &block)
        other
      end

      def duplicate(status, edits)
        code = (status || @res.code).to_s
        other = NetHTTP.response_class(code).allocate
        @res.instance_variables.each { |name| other.instance_variable_set(name, @res.instance_variable_get(name)) }
        header = NetHTTP.copy_header(@res)
        NetHTTP.edit_header(header, edits)
        other.instance_variable_set(:@header, header)
        return other unless status

        other.instance_variable_set(:@code, code)
        other.instance_variable_set(:@message, Answer::REASONS.fetch(status, ""))
        other
      end

      def fill(other, body)
        other.delete("transfer-encoding")
        other.content_length = body.bytesize
        other.reading_body(NetHTTP.connection(body), @req.response_body_permitted?) { yield other }
        discard
      end

      # The other reads from this one's connection.
      def hand_over(other)
        exists = @res.instance_variable_get(:@body_exist)
        other.reading_body(@res.instance_variable_get(:@socket), exists) { yield other }
        other.class.body_permitted? && exists ? read(other.body) : discard
      end

      def read(body)
        @res.instance_variable_set(:@body, body)
        @res.instance_variable_set(:@read, true)
      end

      # The library reads the body next, so that the connection can be kept;
      # unless that might take long.
      def discard
        return unless @res.instance_variable_get(:@body_exist)
        return if @res.content_length && @res.content_length <= DRAIN_MAX

        read(nil)
        @http.instance_variable_get(:@socket).close
      end
    end

    # Copies a body while the application reads it.
    module Tapped
      def middlepipe_tapped
        [@middlepipe_tap&.bytes, @middlepipe_tap ? @middlepipe_tap.complete? : true]
      end

      private

      def read_body_0(dest)
        @middlepipe_tap = Tap.new(dest, Call.body_limit)
        super(@middlepipe_tap)
      end
    end

    # What a body is read into, with a copy of its beginning.
    class Tap
      attr_reader :bytes

      def initialize(dest, limit)
        @dest = dest
        @bytes = "".b
        @limit = limit
        @size = 0
      end

      def <<(part)
        @bytes << part.b if @bytes.bytesize < @limit
        @size += part.bytesize
        @dest << part
        self
      end

      def complete?
        @size <= @limit
      end

      def respond_to_missing?(name, all = false)
        @dest.respond_to?(name, all)
      end

      def method_missing(name, *args)
        @dest.respond_to?(name) ? @dest.public_send(name, *args) : super
      end
    end

    # Looks at a body without reading it: it stays in the connection's buffer,
    # from which the library reads it in its own way afterwards.
    class Peek
      def initialize(res)
        @res = res
        @socket = res.instance_variable_get(:@socket)
        @limit = Call.body_limit
      end

      # [as much of the body as came within that time and fits, whether it is all]
      def body(seconds)
        return [nil, true] unless @res.instance_variable_get(:@body_exist)

        seconds = 0 if @res.content_type == "text/event-stream"
        deadline = now + seconds
        bytes, complete = unframe(buffered)
        until complete || bytes.bytesize > @limit
          more = fill(deadline)
          return [bytes, more == :end && !@res.chunked? && !@res.content_length] unless more == true

          bytes, complete = unframe(buffered)
        end
        [bytes, complete]
      end

      private

      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end

      # true, :late or :end.  Other errors are the library's own, as if it read.
      def fill(deadline)
        io = @socket.io
        waiting = io.respond_to?(:pending) && io.pending.positive?
        return :late unless waiting || io.to_io.wait_readable([deadline - now, 0].max)

        @socket.send(:rbuf_fill)
        true
      rescue EOFError
        :end
      end

      # Net::BufferedIO's buffer; from Ruby 3.3 on with an offset into it.
      def buffered
        bytes = @socket.instance_variable_get(:@rbuf)
        offset = @socket.instance_variable_get(:@rbuf_offset)
        return bytes unless offset

        @socket.instance_variable_get(:@rbuf_empty) ? "" : bytes.byteslice(offset..-1)
      end

      def unframe(bytes)
        return unchunk(bytes) if @res.chunked?

        length = @res.content_length || @res.range_length
        length ? [bytes.byteslice(0, length), bytes.bytesize >= length] : [bytes, false]
      end

      def unchunk(bytes)
        body = "".b
        at = 0
        while (line_end = bytes.index("\n", at))
          size = bytes.byteslice(at, line_end - at).to_i(16)
          return [body, true] if size.zero?

          part = bytes.byteslice(line_end + 1, size)
          body << part
          at = line_end + 1 + size + 2
          break if part.bytesize < size || at > bytes.bytesize
        end
        [body, false]
      end
    end
  end
end
