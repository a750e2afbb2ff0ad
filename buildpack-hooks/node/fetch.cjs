// SPDX-License-Identifier: Apache-2.0
//
// Global fetch, and undici where an app has it: both send what they send through
// the `dispatch` of a dispatcher, which is replaced on the dispatcher itself, so
// that it stays the object that it was.  Dispatchers are found
//
//   in globalThis[Symbol.for('undici.globalDispatcher.1')] (and .2, undici 8),
//   checked at every fetch, because apps set their own at any time;
//   when a copy of undici is loaded, which reads that symbol;
//   in the options of a fetch.
//
// Nothing is loaded before the app's first fetch.  A MockAgent and what it consists
// of are left alone: what they answer is no call.
'use strict';

const FIRST = Symbol.for('undici.globalDispatcher.1'), SECOND = Symbol.for('undici.globalDispatcher.2');
const SYMBOLS = [FIRST, SECOND];

const DOUBLE = /^Mock(?:Pool|Client)$/;
const SENDS_BY_ANOTHER = /(?:RetryAgent|ComposedDispatcher)$/;
const met = new WeakMap(); // dispatcher -> itself, or what stands for it
const newest = [undefined, undefined];
let exchanges = null;

// In the options of what is sent within a call that is met already.
const kWithin = Symbol('middlepipe.within');

// The dispatch of a dispatcher, with the chain around it.
function dispatchOf(dispatch) {
	return function dispatchCall(opts, handler) {
		exchanges ??= require('./exchange.cjs');
		return exchanges.run(this, dispatch, opts, handler);
	};
}

// The dispatch of one that sends by another, maybe later or several times: all of it
// is one call.
function once(dispatch) {
	return function dispatchWithin(opts, handler) {
		return dispatch.call(this, { ...opts, [kWithin]: true }, handler);
	};
}

// From undici 7 on, dispatchers made by compose() are proxies that answer `dispatch` themselves.
function around(dispatcher, dispatch) {
	const own = dispatch.bind(dispatcher);
	return new Proxy(dispatcher, {
		get: (target, key) => key === 'dispatch' ? own : target[key],
	});
}

// What to use in the place of a dispatcher that we have not seen.
function meet(dispatcher) {
	const original = dispatcher.dispatch;
	const before = Object.getOwnPropertyDescriptor(dispatcher, 'dispatch');
	const dispatch = dispatchOf(SENDS_BY_ANOTHER.test(dispatcher.constructor?.name) ? once(original) : original);
	dispatcher.dispatch = dispatch;
	if (dispatcher.dispatch === dispatch)
		return dispatcher;
	if (before === undefined)
		delete dispatcher.dispatch;
	else
		Object.defineProperty(dispatcher, 'dispatch', before);
	return around(dispatcher, dispatchOf(once(original)));
}

function isDouble(dispatcher) {
	return dispatcher.isMockActive !== undefined || DOUBLE.test(dispatcher.constructor?.name);
}

// What to use in the place of a dispatcher: mostly itself.
function adopt(dispatcher) {
	if (dispatcher === null || typeof dispatcher !== 'object' ||
	    typeof dispatcher.dispatch !== 'function' || isDouble(dispatcher))
		return dispatcher;
	let out = met.get(dispatcher);
	if (out === undefined) {
		out = meet(dispatcher);
		met.set(dispatcher, out);
		met.set(out, out);
	}
	return out;
}

// Whether our property still stands in the place of a global dispatcher: then
// nobody has looked for one yet, and there is none.
const watching = [false, false];

function adoptGlobal() {
	for (let i = 0; i < SYMBOLS.length; i++) {
		if (watching[i])
			continue;
		const dispatcher = globalThis[SYMBOLS[i]];
		if (dispatcher === newest[i])
			continue;
		const out = adopt(dispatcher);
		if (out !== dispatcher)
			globalThis[SYMBOLS[i]] = out;
		newest[i] = out;
	}
}

// undici looks for a dispatcher when it is loaded, and defines its own over this.
function watch(symbol, i) {
	if (symbol in globalThis)
		return;
	watching[i] = true;
	const define = (value) => {
		watching[i] = false;
		Object.defineProperty(globalThis, symbol,
			{ value, writable: true, enumerable: false, configurable: true });
	};
	Object.defineProperty(globalThis, symbol, {
		configurable: true,
		enumerable: false,
		get() {
			define(undefined);
			process.nextTick(adoptGlobal);
			return undefined;
		},
		set: define,
	});
}

function wrapFetch(original) {
	let loaded = false;
	return function fetch(input, init = undefined) {
		if (!loaded) {
			loaded = true;
			void globalThis.Headers; // makes Node.js load its undici
		}
		if (globalThis[FIRST] !== newest[0] || (!watching[1] && globalThis[SECOND] !== newest[1]))
			adoptGlobal();
		if (init !== null && typeof init === 'object' && init.dispatcher !== undefined) {
			const dispatcher = adopt(init.dispatcher);
			if (dispatcher !== init.dispatcher)
				return original.call(this, input, { ...init, dispatcher });
		}
		return Reflect.apply(original, this, arguments);
	};
}

function install() {
	SYMBOLS.forEach(watch);
	if (typeof globalThis.fetch === 'function')
		globalThis.fetch = wrapFetch(globalThis.fetch);
}

module.exports = { install, kWithin };
