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
const { kindOfTold } = require('./errors.cjs');
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
		this.early = false;           // started() before undici did
		this.abort = null;            // undici's way to abort, after early
		this.aborted = null;          // why the app gave it up, after early or give()
	}

	// How a handler that was started early aborts.
	onAbort(reason) {
		this.aborted = reason ?? new DOMException('The operation was aborted.', 'AbortError');
		if (this.abort !== null)
			this.abort(this.aborted);
		else if (this.early)
			this.exchange.cancel(this.aborted);
	}

	// undici starts a handler that was started early.
	takeUp(abort) {
		this.abort = abort;
		if (this.aborted !== null)
			abort(this.aborted);
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
		calls.fail(this.call, kindOfTold(error));
		return error;
	}

	// A head that the chain looks at, or that has lost a marker.
	told(status, fields, statusText) {
		return this.exchange === null ? this.head(status, fields, statusText) :
			this.exchange.head(status, fields, statusText);
	}

	onBodySent(chunk) {
		this.exchange?.sent?.take(chunk);
		return this.handler.onBodySent?.(chunk);
	}

	onRequestSent() {
		this.exchange?.sent?.end();
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
		this.started = false;
	}

	onConnect(abort, context) {
		if (this.early)
			return this.takeUp(abort);
		this.started = true;
		return this.handler.onConnect?.(abort, context);
	}

	// Gives the app the means to abort while there is no request yet.
	start(early) {
		if (this.started)
			return;
		this.started = true;
		this.early = early;
		this.handler.onConnect?.((reason) => this.onAbort(reason), {});
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
		this.start(false);
		if (error !== null || this.aborted !== null)
			return handler.onError(this.aborted ?? error);
		handler.onHeaders(status, rawFields(fields), () => {}, STATUS_CODES[status] ?? '');
		if (body !== undefined && body.length !== 0)
			handler.onData(body);
		return handler.onComplete([]);
	}
}

// What a v2 handler holds on to while there is no request, or for ever.
class Controller {
	constructor(tap) {
		this.tap = tap;
		this.paused = false;
		this.rawHeaders = null;
		this.rawTrailers = [];
	}

	get aborted() {
		return this.tap.aborted !== null;
	}

	get reason() {
		return this.tap.aborted;
	}

	pause() {
		this.paused = true;
	}

	resume() {
		this.paused = false;
	}

	abort(reason) {
		this.tap.onAbort(reason);
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
		const { early } = this;
		this.controller = controller;
		if (early)
			return this.takeUp((reason) => controller.abort(reason));
		return this.handler.onRequestStart?.(controller, context);
	}

	start(early) {
		if (this.controller !== null)
			return;
		this.controller = new Controller(this);
		this.early = early;
		this.handler.onRequestStart?.(this.controller, {});
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
		this.start(false);
		const { controller } = this;
		if (error !== null || this.aborted !== null)
			return handler.onResponseError?.(controller, this.aborted ?? error);
		controller.rawHeaders = rawFields(fields);
		handler.onResponseStart?.(controller, status, headersOf(fields), STATUS_CODES[status] ?? '');
		if (body !== undefined && body.length !== 0)
			handler.onResponseData?.(controller, body);
		return handler.onResponseEnd?.(controller, {});
	}
}

module.exports = { Tap1, Tap2 };
