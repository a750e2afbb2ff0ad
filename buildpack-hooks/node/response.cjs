// SPDX-License-Identifier: Apache-2.0
//
// http responses that the chain wants to see: copied to it (it does not matter
// when), or decided on by it, for which 'response' is held back.  http.cjs loads
// it with the first such call, or with the first response whose fields change.
//
// A body is taken on its way into the response (res.push), never by listening or
// reading, so that flow control and the app's own listeners are as without us.
'use strict';

const { STATUS_CODES } = require('http');
const { setTimeout, clearTimeout } = require('timers');

const calls = require('./calls.cjs');
const { base } = require('./http.cjs');
const { MiddlepipeError, BROKEN } = require('./errors.cjs');
const { editFields, headOf } = require('./edits.cjs');
const { hasBody, replyFields } = require('./reply.cjs');

const { native, WANT_RESPONSE, WANT_RESPONSE_BODY, GO } = calls;
const PASS = 0, REPLIED = 1 | 16;

// The longest that a response is held back for its body.
const BODY_WAIT_MS = 5000;
// What a replaced response may still have to say before its connection is given up.
const DRAIN_MS = 1000, DRAIN_BYTES = 1 << 20;

// Replaces the fields of a response; raw is [name, value, ...].
function setHeaders(res, raw) {
	const { complete } = res;
	res.headers = null;
	if ('headersDistinct' in res)
		res.headersDistinct = null;
	res.complete = false; // else they were taken for trailers
	res._addHeaderLines(raw, raw.length);
	res.complete = complete;
}

function headText(res) {
	const raw = res.rawHeaders;
	let text = `HTTP/1.1 ${res.statusCode} ${res.statusMessage}\r\n`;
	for (let i = 0; i < raw.length; i += 2)
		text += `${raw[i]}: ${raw[i + 1]}\r\n`;
	return `${text}\r\n`;
}

// Shows a response, or an error in its stead, to the chain; returns the verdict.
function show(call, req, res, error, body, complete) {
	call.observer = null;
	const asked = call.kind !== GO;
	return native.respond(call.slot, asked ? undefined : headOf(req), asked ? undefined : call.body?.bytes(),
		call.body === null || call.body.complete, error ? 0 : res.statusCode, error,
		res === null ? '' : headText(res), body, complete);
}

function isStream(res) {
	return /^text\/event-stream/i.test(res.headers['content-type'] ?? '');
}

function wantsBody(call, req, res) {
	return (call.wants & WANT_RESPONSE_BODY) !== 0 && hasBody(res.statusCode, req.method) && !isStream(res);
}

// ---------------------------------------------------------------------- copying

// Keeps a copy of the body as it passes, and shows it at the end of the call.
class Copy {
	constructor(call, req, res) {
		this.call = call;
		this.req = req;
		this.res = res;
		this.limit = native.bodyLimit();
		this.chunks = [];
		this.size = 0;
		const copy = this;
		const { push } = res;
		res.push = function(chunk, encoding) {
			copy.keep(chunk);
			return push.call(res, chunk, encoding);
		};
	}

	keep(chunk) {
		if (chunk === null || this.size > this.limit)
			return;
		this.size += chunk.length;
		this.chunks.push(chunk);
	}

	// From calls.end(), before the call ends.
	flush(error) {
		show(this.call, this.req, this.res, error, Buffer.concat(this.chunks, Math.min(this.size, this.limit)),
			this.res.complete && this.size <= this.limit);
	}
}

// --------------------------------------------------------------------- deciding

// Takes bytes instead of those that the network still sends.
function replaceBody(req, res, bytes, ended) {
	const push = Object.getPrototypeOf(res).push;
	const finish = () => {
		clearTimeout(timer);
		delete res.push;
		res.push(null);
	};
	const giveUp = () => {
		req.shouldKeepAlive = false; // the connection is no good for another request
		finish();
	};
	let left = DRAIN_BYTES, timer = null;
	if (bytes.length !== 0)
		push.call(res, bytes);
	if (ended)
		return finish();
	timer = setTimeout(giveUp, DRAIN_MS);
	res.push = (chunk) => {
		if (chunk === null)
			finish();
		else if ((left -= chunk.length) < 0)
			giveUp();
		return true;
	};
}

// Applies a verdict to the response.  Returns the bytes of another body, or undefined.
function edit(req, res, verdict, replied) {
	const body = replied ? verdict.body ?? Buffer.alloc(0) : verdict.body;
	let raw = replied ? replyFields(verdict) : editFields(res.rawHeaders, verdict.edits);
	if (body !== undefined && !replied)
		raw = editFields(raw, [0, 'Content-Length', String(body.length), 2, 'Transfer-Encoding', '']);
	if (raw !== res.rawHeaders)
		setHeaders(res, raw);
	if (verdict.status !== 0) {
		res.statusCode = verdict.status;
		res.statusMessage = STATUS_CODES[verdict.status] ?? '';
	}
	return body !== undefined && !hasBody(res.statusCode, req.method) ? Buffer.alloc(0) : body;
}

// Gives the response to the app, or discards it when nobody wants it.
function forward(req, res) {
	if (!base.emit.call(req, 'response', res))
		res._dump();
}

function refuse(call, req, res, verdict) {
	call.authority ||= String(req.getHeader('host'));
	res._dump();
	base.emit.call(req, 'error', new MiddlepipeError(call, verdict));
}

// What the chain has decided: the response as it is, edited, replaced, or an error.
function act(call, req, res, code, held) {
	const { statusCode, complete } = res;
	const verdict = code === PASS ? null : native.verdict(call.slot);
	const replied = code === REPLIED;
	if (replied)
		calls.end(call, statusCode, 0);
	else
		calls.head(call, statusCode, true); // the head's time is taken
	let body;
	res.complete = false; // not for the app yet: Node.js 26 neither cancels nor reads what is
	try {
		if (replied && verdict.raise) {
			refuse(call, req, res, verdict);
		} else {
			body = verdict === null ? undefined : edit(req, res, verdict, replied);
			forward(req, res);
		}
	} finally { // a listener may throw
		res.complete = complete;
		if (body === undefined)
			restore(res, held);
		else
			replaceBody(req, res, body, held !== null && held.ended);
	}
}

// Lets a held body go on.
function restore(res, held) {
	if (held === null)
		return;
	delete res.push;
	for (const chunk of held.chunks)
		res.push(chunk);
	if (held.ended)
		res.push(null);
}

// A response that waits for its body.
class Held {
	constructor(call, req, res) {
		this.call = call;
		this.req = req;
		this.res = res;
		this.limit = native.bodyLimit();
		this.chunks = [];
		this.size = 0;
		this.ended = false;
		this.timer = setTimeout(() => this.decide(), BODY_WAIT_MS);
		const held = this;
		res.push = function(chunk) { return held.take(chunk); };
	}

	take(chunk) {
		if (chunk === null) {
			this.ended = true;
		} else {
			this.chunks.push(chunk);
			this.size += chunk.length;
		}
		if (this.ended || this.size > this.limit)
			this.decide();
		return true;
	}

	decide() {
		const { call, req, res } = this;
		this.stop();
		const code = show(call, req, res, 0,
			Buffer.concat(this.chunks, Math.min(this.size, this.limit)), this.ended);
		act(call, req, res, code, this);
	}

	stop() {
		clearTimeout(this.timer);
		this.call.held = null;
	}
}

// The connection is closed and the response still held: it broke off.  True when
// 'close' has been dealt with.
function onCloseHeld(call, req) {
	const { held } = call;
	const error = held.res.errored ?? Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
	held.stop();
	call.res = null;
	if (call.dropped) {
		calls.fail(call, call.dropped);
		base.emit.call(req, 'error', error);
		return false;
	}
	onError(call, req, error, BROKEN);
	return Object.hasOwn(req, 'emit') && req.emit('close');
}

function onResponse(call, req, res, small) {
	const body = wantsBody(call, req, res);
	if ((call.wants & WANT_RESPONSE) === 0) {
		if (body)
			call.observer = new Copy(call, req, res);
		else
			show(call, req, res, 0, undefined, false);
		calls.head(call, res.statusCode, small);
		return base.emit.call(req, 'response', res);
	}
	native.head(call.slot);
	if (body)
		call.held = new Held(call, req, res);
	else
		act(call, req, res, show(call, req, res, 0, undefined, false), null);
	return true;
}

// ----------------------------------------------------------------------- errors

// The call failed.  The chain may answer all the same: then the request goes on
// with that answer once its socket is gone.
function onError(call, req, error, kind) {
	const code = show(call, req, null, kind, undefined, false);
	const decided = (call.wants & WANT_RESPONSE) !== 0 && code === REPLIED;
	const verdict = decided ? native.verdict(call.slot) : null;
	calls.fail(call, kind);
	if (verdict === null)
		return base.emit.call(req, 'error', error);
	call.authority ||= String(req.getHeader('host'));
	if (verdict.raise)
		return base.emit.call(req, 'error', new MiddlepipeError(call, verdict));
	reviveAfterClose(call, req, verdict);
	return true;
}

// Swallows what is left of the failure, up to the request's 'close', and gives
// the request the reply's socket then.
function reviveAfterClose(call, req, verdict) {
	const { deliver } = require('./request.cjs');
	req.emit = function(type, ...args) {
		if (type !== 'close')
			return type === 'error' || base.emit.call(req, type, ...args);
		const unsent = req.outputData.slice(); // Node.js empties it after 'close'
		process.nextTick(() => {
			delete req.emit;
			req.outputData = unsent;
			req._closed = req.destroyed = false;
			req.res = null;
			deliver(call, req, verdict, req.writableEnded);
		});
		return true;
	};
}

module.exports = { onResponse, onError, onCloseHeld, setHeaders };
