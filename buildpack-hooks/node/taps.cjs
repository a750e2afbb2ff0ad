// SPDX-License-Identifier: Apache-2.0
//
// undici tells a handler what happens.  Handlers come in two kinds: v1 (onConnect,
// onHeaders, onData, onComplete, onError) and, from undici 7 on, v2 (onRequestStart,
// onResponseStart, onResponseData, onResponseEnd, onResponseError).  Tap1 and Tap2
// put themselves between undici and a handler.  A call that the chain only observes
// is ended here; all else both translate into head, data, complete and failed of
// exchange.cjs, which alone uses them, and the other way round they give a handler
// what the chain answers.
'use strict';

const calls = require('./calls.cjs');
const { kindOf } = require('./errors.cjs');
const { STATUS_CODES } = require('http');

const { WANT_EITHER, SMALL_DIGITS } = calls;
const MARKER = 'middlepipe';

// Whether a response says that its body is small; null when it has a marker, which
// nothing of the network's own may have.
function scan(raw) {
	let small = false;
	for (let i = 0; i < raw.length; i += 2) {
		const { length } = raw[i];
		if (length !== 10 && length !== 14)
			continue;
		const name = String(raw[i]);
		if (length === 14 && (name.charCodeAt(8) | 32) === 108 /* Content-Length */)
			small = raw[i + 1].length <= SMALL_DIGITS;
		else if (length === 10 && (name.charCodeAt(0) | 32) === 109 && name.toLowerCase() === MARKER)
			return null;
	}
	return small;
}

function textFields(raw) {
	const out = [];
	for (let i = 0; i < raw.length; i += 2) {
		const name = raw[i].toString('latin1');
		if (name.toLowerCase() !== MARKER)
			out.push(name, raw[i + 1].toString('latin1'));
	}
	return out;
}

function rawFields(fields) {
	return fields.map((text) => Buffer.from(text, 'latin1'));
}

class Tap {
	constructor(handler, call, dispatcher, dispatch) {
		this.handler = handler;
		this.call = call;
		this.dispatcher = dispatcher; // where it is sent through, by
		this.dispatch = dispatch;     // this function
		this.exchange = null;         // of a call that is more than observed
	}

	// The response's head.  True when the handler may have it as it is.
	isPlain(status, raw) {
		if (this.exchange !== null && (this.call.wants & WANT_EITHER) !== 0)
			return false;
		const small = scan(raw);
		calls.head(this.call, status, small === true);
		return small !== null;
	}

	// The response's end.  True: the handler is to be told.
	isComplete() {
		if (this.exchange !== null)
			return this.exchange.complete();
		calls.end(this.call, this.call.status, 0);
		return true;
	}

	// The error to tell the handler, or null.
	failure(error) {
		if (this.exchange !== null)
			return this.exchange.failed(error);
		calls.fail(this.call, kindOf(error));
		return error;
	}

	// A head that the chain looks at, or that has lost a marker.
	told(status, fields, statusText) {
		return this.exchange === null ? this.head(status, fields, statusText) :
			this.exchange.head(status, fields, statusText);
	}

	onBodySent(chunk) {
		return this.handler.onBodySent?.(chunk);
	}

	onRequestSent() {
		return this.handler.onRequestSent?.();
	}

	onResponseStarted() {
		return this.handler.onResponseStarted?.();
	}
}

class Tap1 extends Tap {
	constructor(handler, call, dispatcher, dispatch) {
		super(handler, call, dispatcher, dispatch);
		this.resume = null;
		this.connected = false;
		this.aborted = null;
	}

	onConnect(abort, context) {
		this.connected = true;
		return this.handler.onConnect?.(abort, context);
	}

	onUpgrade(status, headers, socket) {
		calls.end(this.call, status, 0);
		return this.handler.onUpgrade?.(status, headers, socket);
	}

	onHeaders(status, raw, resume, statusText) {
		if (status < 200)
			return this.handler.onHeaders(status, raw, resume, statusText);
		this.resume = resume;
		if (this.isPlain(status, raw))
			return this.handler.onHeaders(status, raw, resume, statusText);
		return this.told(status, textFields(raw), statusText);
	}

	onData(chunk) {
		return this.exchange === null ? this.handler.onData(chunk) : this.exchange.data(chunk);
	}

	onComplete(trailers) {
		if (this.isComplete())
			this.handler.onComplete(trailers);
	}

	onError(error) {
		const told = this.failure(error);
		if (told !== null)
			this.handler.onError(told);
	}

	head(status, fields, statusText) {
		return this.handler.onHeaders(status, rawFields(fields), this.resume, statusText);
	}

	data(chunk) {
		return this.handler.onData(chunk);
	}

	// A whole response, or an error, that no network gave.
	give(error, status, fields, body) {
		const { handler } = this;
		if (!this.connected)
			handler.onConnect?.((reason) => { this.aborted = reason ?? new Error('aborted'); }, {});
		if (error !== null || this.aborted !== null)
			return handler.onError(this.aborted ?? error);
		handler.onHeaders(status, rawFields(fields), () => {}, STATUS_CODES[status] ?? '');
		if (body !== undefined && body.length !== 0)
			handler.onData(body);
		return handler.onComplete([]);
	}
}

// What a v2 handler holds on to for a response that no network gives.
class Controller {
	aborted = false;
	paused = false;
	reason = null;
	rawHeaders = null;
	rawTrailers = [];

	pause() {
		this.paused = true;
	}

	resume() {
		this.paused = false;
	}

	abort(reason) {
		this.aborted = true;
		this.reason = reason ?? new Error('aborted');
	}
}

// { name: value or [values] }, as v2 has it.
function headersOf(fields) {
	const out = {};
	for (let i = 0; i < fields.length; i += 2) {
		const name = fields[i].toLowerCase();
		out[name] = name in out ? [].concat(out[name], fields[i + 1]) : fields[i + 1];
	}
	return out;
}

class Tap2 extends Tap {
	constructor(handler, call, dispatcher, dispatch) {
		super(handler, call, dispatcher, dispatch);
		this.controller = null;
	}

	onRequestStart(controller, context) {
		this.controller = controller;
		return this.handler.onRequestStart?.(controller, context);
	}

	onRequestUpgrade(controller, status, headers, socket) {
		calls.end(this.call, status, 0);
		return this.handler.onRequestUpgrade?.(controller, status, headers, socket);
	}

	onResponseStart(controller, status, headers, statusText) {
		if (status < 200)
			return this.handler.onResponseStart?.(controller, status, headers, statusText);
		const raw = controller.rawHeaders ?? Object.entries(headers ?? {}).flatMap(([name, value]) =>
			[].concat(value).flatMap((one) => [name, one]));
		if (this.isPlain(status, raw))
			return this.handler.onResponseStart?.(controller, status, headers, statusText);
		return this.told(status, textFields(raw), statusText);
	}

	onResponseData(controller, chunk) {
		return this.exchange === null ? this.handler.onResponseData?.(controller, chunk) :
			this.exchange.data(chunk);
	}

	onResponseEnd(controller, trailers) {
		if (this.isComplete())
			this.handler.onResponseEnd?.(controller, trailers);
	}

	onResponseError(controller, error) {
		const told = this.failure(error);
		if (told !== null)
			this.handler.onResponseError?.(controller, told);
	}

	head(status, fields, statusText) {
		this.controller.rawHeaders = rawFields(fields);
		this.handler.onResponseStart?.(this.controller, status, headersOf(fields), statusText);
		return true; // it pauses through the controller
	}

	data(chunk) {
		this.handler.onResponseData?.(this.controller, chunk);
		return true;
	}

	give(error, status, fields, body) {
		const { handler } = this;
		const controller = new Controller();
		if (this.controller === null)
			handler.onRequestStart?.(controller, {});
		if (error !== null || controller.aborted)
			return handler.onResponseError?.(controller, error ?? controller.reason);
		controller.rawHeaders = rawFields(fields);
		handler.onResponseStart?.(controller, status, headersOf(fields), STATUS_CODES[status] ?? '');
		if (body !== undefined && body.length !== 0)
			handler.onResponseData?.(controller, body);
		return handler.onResponseEnd?.(controller, {});
	}
}

module.exports = { Tap1, Tap2 };
