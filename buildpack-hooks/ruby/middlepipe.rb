# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# The hook that RUBYOPT=-r loads into every ruby process of an application.
#
# It requires nothing of Ruby's library and no gem, because whatever is loaded
# before Bundler cannot be chosen by it any more; prints nothing; and does
# nothing at all when no scheduler is named, when it is disabled, or when there
# is no extension for this ruby.  Otherwise it waits until the application has
# loaded Net::HTTP or HTTPClient and puts its own methods in front of theirs
# (middlepipe/net_http.rb, middlepipe/httpclient.rb).
#
# See docs/hooks-ruby.md.

if RUBY_ENGINE == "ruby" && !ENV["MIDDLEPIPE_SOCK"].to_s.empty? &&
   ENV["MIDDLEPIPE_DISABLED"] != "1" && !defined?(Middlepipe::Call)

  module Middlepipe
    # Finds the libraries when they are loaded, and patches them.
    module Watch
      FILES = { "Net::HTTP" => "net_http.rb", "HTTPClient" => "httpclient.rb" }.freeze
      NAME = Module.instance_method(:name) # classes redefine it

      @left = FILES.keys
      class << self
        # One extension for each ABI of ruby, as Ruby's own folders are named.
        def extension
          abi = defined?(RbConfig) ? RbConfig::CONFIG["ruby_version"] : RUBY_VERSION.sub(/\d+\z/, "0")
          "#{__dir__}/#{abi}/middlepipe_ext.so"
        end

        def start
          return unless File.file?(extension)

          require extension
          Call.enabled? && watch
        rescue LoadError, StandardError
          nil # the application must not notice
        end

        # Puts our methods in front, as soon as the class is there.
        def seen(owner)
          name = NAME.bind_call(owner)
          return unless @left.delete(name)

          require "#{__dir__}/middlepipe/#{FILES[name]}"
          unwatch if @left.empty?
        rescue LoadError, StandardError
          nil
        end

        private

        def watch
          seen(::Net::HTTP) if ::Object.const_defined?(:Net) && !::Object.autoload?(:Net) &&
                               ::Net.const_defined?(:HTTP, false) && !::Net.autoload?(:HTTP)
          seen(::HTTPClient) if ::Object.const_defined?(:HTTPClient) && !::Object.autoload?(:HTTPClient)
          @left.empty? || look
        end

        # Ruby 3.2 tells of each new constant; TracePoint would slow YJIT down there.
        if Module.private_method_defined?(:const_added)
          def look
            Object.singleton_class.prepend(Added)
            ::Net.singleton_class.prepend(Added) if Object.const_defined?(:Net) && !Object.autoload?(:Net)
          end

          def unwatch; end
        else
          def look
            @trace = TracePoint.new(:class) { |point| seen(point.self) if Module === point.self }
            @trace.enable
          end

          def unwatch
            @trace&.disable
          end
        end
      end

      # In front of const_added of Object and Net.
      module Added
        private

        def const_added(name)
          super
          return unless (name == :HTTP || name == :HTTPClient || name == :Net) && !autoload?(name)

          if equal?(::Object) && name == :Net
            ::Net.singleton_class.prepend(Added) if ::Module === ::Net
          elsif name == :HTTP || equal?(::Object)
            found = const_get(name, false)
            Watch.seen(found) if ::Module === found
          end
        end
      end
    end
    Watch.start
  end
end
