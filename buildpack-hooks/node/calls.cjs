// SPDX-License-Identifier: Apache-2.0
//
// The life of a call, whatever the library that makes it: begun, perhaps
// answered, and ended exactly once.  http.cjs and fetch.cjs call it; the only
// file that knows the addon's life-cycle functions.
//
// When a call ends: at the response's head unless its status is 2xx; then with
// the body, so that one that breaks off is seen, but a second after the head at
// the latest, so that streams and bodies that nobody reads do not stay open.
'use strict';

const { CANCELLED } = require('./errors.cjs');
const native = require('./middlepipe.node');
const { setTimeout } = require('timers'); // tests of apps replace the global one
const { now } = Date;

// What begin() answers in `kind` (MP_NONE is null there), and MP_WANT_*.
const GO = 1, ASK = 2, REPLY = 3;
const WANT_REQUEST_BODY = 1, WANT_RESPONSE = 2, WANT_COPY = 4, WANT_RESPONSE_BODY = 8;
const WANT_EITHER = WANT_RESPONSE | WANT_COPY;

const LINGER_MS = 1000;

class Call {
	constructor(begun, host, authority) {
		this.kind = begun & 3;
		this.wants = (begun >> 2) & 15;
		this.slot = begun >> 8;
		this.done = false;      // ended
		this.host = host;
		this.authority = authority; // host:port, for people
		this.status = 0;        // of the response's head; 0: not yet there
		this.dropped = 0;       // MP_ERROR_* when the app gave it up
		this.timedOut = false;  // the library said so, and left the rest to the app
		this.res = null;        // http: the response
		this.asking = null;     // http: what request.cjs is at
		this.body = null;       // http: the request's body as the app writes it
		this.held = null;       // http: a response that waits for its body
		this.observer = null;   // shows the response to the chain before the end
		this.next = null;       // in the list of those that linger
		this.prev = null;
		this.until = 0;
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
	const begun = native.begin(number(https, host, port), path);
	if (begun === 0)
		return null;
	const call = new Call(begun, host, '');
	if (call.kind !== GO)
		call.authority = authorityOf(https, host, port);
	return call;
}

// ---------------------------------------------------------------------- end

const list = { next: null, prev: null };
list.next = list.prev = list;
let timer = null;

function unlink(call) {
	call.prev.next = call.next;
	call.next.prev = call.prev;
	call.next = call.prev = null;
}

// The last word.  status, or an MP_ERROR_*; a second time it does nothing.
function end(call, status, error) {
	if (call.done)
		return;
	call.done = true;
	if (call.next !== null)
		unlink(call);
	if (call.observer !== null)
		call.observer.flush(error);
	native.end(call.slot, status, error);
}

// Ends what has lingered; unref'd, so that it keeps no process alive.
function sweep() {
	const time = now();
	while (list.next !== list && list.next.until <= time)
		end(list.next, list.next.status, 0);
	timer = list.next === list ? null : setTimeout(sweep, LINGER_MS / 2).unref();
}

function linger(call) {
	native.head(call.slot);
	call.until = now() + LINGER_MS;
	call.next = list;
	call.prev = list.prev;
	call.prev.next = list.prev = call;
	if (timer === null)
		timer = setTimeout(sweep, LINGER_MS).unref();
}

// The response's head is there.  An observer of the body needs the body's end.
function head(call, status) {
	call.status = status;
	if (call.observer !== null || (status >= 200 && status < 300))
		linger(call);
	else
		end(call, status, 0);
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
	native, begin, end, head, fail, GO, ASK, REPLY, WANT_REQUEST_BODY, WANT_RESPONSE,
	WANT_COPY, WANT_EITHER, WANT_RESPONSE_BODY,
};
