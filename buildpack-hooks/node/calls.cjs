// SPDX-License-Identifier: Apache-2.0
//
// The life of a call, whatever the library that makes it: begun, perhaps
// answered, and ended exactly once.  http.cjs and fetch.cjs call it; the only
// file that knows the addon's life-cycle functions.
//
// When a call ends: at the response's head unless its status is 2xx; then with
// the body, so that one that breaks off is seen, but one to two seconds after the
// head at the latest, so that streams and bodies that nobody reads do not stay
// open.  Its duration is that to the head.
'use strict';

const { CANCELLED } = require('./errors.cjs');
const native = require('./middlepipe.node');
const { setTimeout } = require('timers'); // tests of apps replace the global one

// A call's kind (of MP_NONE there is no call), and MP_WANT_*.
const GO = 1, ASK = 2, REPLY = 3;
const WANT_REQUEST_BODY = 1, WANT_RESPONSE = 2, WANT_COPY = 4, WANT_RESPONSE_BODY = 8;
const WANT_EITHER = WANT_RESPONSE | WANT_COPY;

const LINGER_MS = 1000;
const PATH_MAX = 448; // characters of a path that prefixes are compared with
const SMALL_DIGITS = 4; // of the length of a body that ends as good as with its head

// Shared with the addon: arguments and results, the path, and by call the status of
// those that linger.
const shared = native.shared();
const words = new Uint32Array(shared, 0, 16);
const path8 = new Uint8Array(shared, 64, PATH_MAX);
const heads = new Uint16Array(shared, 512);

class Call {
	constructor(kind, wants, slot, host) {
		this.kind = kind;
		this.wants = wants;
		this.slot = slot;       // the addon's number
		this.host = host;
		this.authority = '';    // host:port, for people, when there was a reason to make it
		this.done = false;      // ended
		this.status = 0;        // of the response's head; 0: not yet there
		this.dropped = 0;       // MP_ERROR_* when the app gave it up
		this.timedOut = false;  // the library said so, and left the rest to the app
		this.res = null;        // http: the response
		this.asking = null;     // http: what request.cjs is at
		this.body = null;       // http: the request's body as the app writes it
		this.held = null;       // http: a response that waits for its body
		this.observer = null;   // shows the response to the chain before the end
		this.swept = false;     // has an observer, and lingers for a period already
	}
}

// ------------------------------------------------------------- destinations

let numbers = new Map(); // scheme and host -> Map of port -> number
let lastHost = '', lastPort = -1, lastHttps = false, lastNumber = -1;

function number(https, host, port) {
	if (host === lastHost && port === lastPort && https === lastHttps)
		return lastNumber;
	const key = https ? `s${host}` : `p${host}`;
	let ports = numbers.get(key);
	let found = ports?.get(port);
	if (found === undefined) {
		found = native.target(https, host, port);
		if (found < 0) { // full: an app of very many destinations
			native.forget();
			numbers = new Map();
			ports = undefined;
			found = native.target(https, host, port);
		}
		if (ports === undefined)
			numbers.set(key, ports = new Map());
		ports.set(port, found);
	}
	lastHost = host, lastPort = port, lastHttps = https, lastNumber = found;
	return found;
}

// For errors: what a Host field would say.
function authorityOf(https, host, port) {
	const name = host.includes(':') && host[0] !== '[' && !host.startsWith('unix:') ? `[${host}]` : host;
	return port === 0 || port === (https ? 443 : 80) ? name : `${name}:${port}`;
}

// A call that the chain has something to do with, or null.  port 0: the scheme's.
function begin(https, host, port, path) {
	words[0] = number(https, host, port);
	let i = 0;
	for (const length = Math.min(path.length, PATH_MAX); i < length; i++) {
		const code = path.charCodeAt(i);
		if (code === 63 /* ? */)
			break;
		path8[i] = code;
	}
	words[1] = i;
	native.begin();
	const kind = words[0];
	if (kind === 0)
		return null;
	const call = new Call(kind, words[1], words[2], host);
	if (kind !== GO)
		call.authority = authorityOf(https, host, port);
	return call;
}

// ---------------------------------------------------------------------- end

let timer = null;
const observed = new Set(); // calls that linger and have an observer

// The last word.  status, or an MP_ERROR_*; a second time it does nothing.
function end(call, status, error) {
	if (call.done)
		return;
	call.done = true;
	if (call.observer !== null) {
		observed.delete(call);
		call.observer.flush(error);
	}
	words[0] = call.slot;
	words[1] = status;
	words[2] = error;
	native.end();
}

// Ends what has lingered for one to two periods; unref'd, so that it keeps no
// process alive.
function sweep() {
	for (const call of observed) {
		if (call.swept)
			end(call, call.status, 0);
		call.swept = true;
	}
	timer = native.sweep() + observed.size === 0 ? null : setTimeout(sweep, LINGER_MS).unref();
}

function linger(call, status, small) {
	if (call.observer !== null)
		observed.add(call);
	else
		heads[call.slot & 0xffff] = status;
	if (!small)
		native.head(call.slot);
	if (timer === null)
		timer = setTimeout(sweep, LINGER_MS).unref();
}

// The response's head is there.  An observer of the body needs the body's end.
// small: the body's end is as good as here.
function head(call, status, small) {
	call.status = status;
	if (call.observer !== null || (status >= 200 && status < 300))
		linger(call, status, small);
	else
		end(call, status, 0);
}

// A small body that nobody may ever read: the time is that of its head after all.
function unread(call) {
	if (!call.done)
		native.head(call.slot);
}

// A failure after the head is the service's only when the app has not turned away.
function fail(call, error) {
	const dropped = call.dropped || error;
	if (dropped === CANCELLED && call.status !== 0)
		end(call, call.status, 0);
	else
		end(call, 0, dropped);
}

module.exports = {
	native, begin, end, head, unread, fail, GO, ASK, REPLY, WANT_REQUEST_BODY, WANT_RESPONSE,
	WANT_COPY, WANT_EITHER, WANT_RESPONSE_BODY, SMALL_DIGITS,
};
