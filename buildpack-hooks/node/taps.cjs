// SPDX-License-Identifier: Apache-2.0
//
// undici tells a handler what happens.  Handlers come in two kinds: v1 (onConnect,
// onHeaders, onData, onComplete, onError) and, from undici 7 on, v2 (onRequestStart,
// onResponseStart, onResponseData, onResponseEnd, onResponseError).  Tap1 and Tap2
// put themselves between undici and a handler and translate both into head, data,
// complete and failed of exchange.cjs, which alone uses them; and the other way
// round they give a handler what the chain answers.
'use strict';

const calls = require('./calls.cjs');
const { STATUS_CODES } = require('http');

const { WANT_EITHER } = calls;
const MARKER = 'middlepipe';

// Nothing of the network's own may call back into the app.  The fields as
// undici has them, unless the marker is among them or a chain decides on them.
function hasMarker(raw) {
	for (let i = 0; i < raw.length; i += 2)
		if (raw[i].length === MARKER.length && String(raw[i]).toLowerCase() === MARKER)
			return true;
	return false;
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

class Tap1 {
	constructor(handler) {
		this.handler = handler;
		this.exchange = null;
		this.raw = null;     // fields as undici gave them, while they may go on as they are
		this.resume = null;
		this.connected = false;
		this.aborted = null;
	}

	onConnect(abort, context) {
		this.connected = true;
		return this.handler.onConnect?.(abort, context);
	}

	onUpgrade(status, headers, socket) {
		calls.end(this.exchange.call, status, 0);
		return this.handler.onUpgrade?.(status, headers, socket);
	}

	onResponseStarted() {
		return this.handler.onResponseStarted?.();
	}

	onHeaders(status, raw, resume, statusText) {
		if (status < 200)
			return this.handler.onHeaders(status, raw, resume, statusText);
		this.resume = resume;
		if ((this.exchange.call.wants & WANT_EITHER) === 0 && !hasMarker(raw)) {
			calls.head(this.exchange.call, status);
			return this.handler.onHeaders(status, raw, resume, statusText);
		}
		return this.exchange.head(status, textFields(raw), statusText);
	}

	onData(chunk) {
		return this.exchange.data(chunk);
	}

	onComplete(trailers) {
		if (this.exchange.complete())
			this.handler.onComplete(trailers);
	}

	onError(error) {
		const told = this.exchange.failed(error);
		if (told !== null)
			this.handler.onError(told);
	}

	onBodySent(chunk) {
		return this.handler.onBodySent?.(chunk);
	}

	onRequestSent() {
		return this.handler.onRequestSent?.();
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

class Tap2 {
	constructor(handler) {
		this.handler = handler;
		this.exchange = null;
		this.controller = null;
	}

	onRequestStart(controller, context) {
		this.controller = controller;
		return this.handler.onRequestStart?.(controller, context);
	}

	onRequestUpgrade(controller, status, headers, socket) {
		calls.end(this.exchange.call, status, 0);
		return this.handler.onRequestUpgrade?.(controller, status, headers, socket);
	}

	onResponseStarted() {
		return this.handler.onResponseStarted?.();
	}

	onResponseStart(controller, status, headers, statusText) {
		if (status < 200)
			return this.handler.onResponseStart?.(controller, status, headers, statusText);
		const raw = controller.rawHeaders ?? Object.entries(headers ?? {}).flatMap(([name, value]) =>
			[].concat(value).flatMap((one) => [name, one]));
		if ((this.exchange.call.wants & WANT_EITHER) === 0 && !hasMarker(raw)) {
			calls.head(this.exchange.call, status);
			return this.handler.onResponseStart?.(controller, status, headers, statusText);
		}
		return this.exchange.head(status, textFields(raw), statusText);
	}

	onResponseData(controller, chunk) {
		return this.exchange.data(chunk);
	}

	onResponseEnd(controller, trailers) {
		if (this.exchange.complete())
			this.handler.onResponseEnd?.(controller, trailers);
	}

	onResponseError(controller, error) {
		const told = this.exchange.failed(error);
		if (told !== null)
			this.handler.onResponseError?.(controller, told);
	}

	onBodySent(chunk) {
		return this.handler.onBodySent?.(chunk);
	}

	onRequestSent() {
		return this.handler.onRequestSent?.();
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
