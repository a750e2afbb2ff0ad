// SPDX-License-Identifier: Apache-2.0
//
// http requests that do not simply go on: asked about, held, delayed, edited, or
// answered by the chain.  http.cjs loads it with the first such request.
//
// Asking is put off to the end of the current tick, so that the app has set its
// fields and written its body.  Neither changes anything for the app: without
// the hook no socket is assigned within the tick either.
'use strict';

const { native, end, ASK, REPLY, WANT_REQUEST_BODY } = require('./calls.cjs');
const { MiddlepipeError } = require('./errors.cjs');
const { onSocket } = require('./http.cjs');
const edits = require('./edits.cjs');
const { ReplySocket, replyBytes } = require('./reply.cjs');
const { setTimeout, clearTimeout } = require('timers');

// Verdicts of types.h; with the bit that says that there is more to them.
const PASS = 0, REPLIED = 1, DELAY = 2, HOLD = 3, DETAILS = 16;

// How long the chain waits for the rest of a body that the app is still writing.
const BODY_WAIT_MS = 50;
// A held call is looked at this often.
const HOLD_POLL_MS = [1, 1, 1, 2, 2, 5];

// -------------------------------------------------------------------- the body

// Whether some of the body has been written, which nobody keeps for us.
function hasWritten(req) {
	const size = req.outputData.reduce((sum, { data }) => sum + data.length, 0);
	return size > (req._header?.length ?? 0);
}

// The start of what is written, copied, because the app may use its buffer again; no
// more than is needed to see that there is more than `rest`.
function startOf(chunk, encoding, rest) {
	if (typeof chunk !== 'string')
		return Buffer.from(chunk.subarray(0, rest + 1));
	const longest = 2 * (rest + 2); // characters; two are a byte in hex
	return Buffer.from(chunk.length > longest ? chunk.slice(0, longest) : chunk,
		typeof encoding === 'string' ? encoding : 'utf8');
}

// Keeps what the app writes, as it writes it, up to the chain's limit.
class Body {
	constructor(req, limit) {
		this.req = req;
		this.limit = limit;
		this.chunks = [];
		this.size = 0;
		this.over = hasWritten(req); // there is more than what is kept
		this.due = this.over || req.writableEnded; // nothing to wait for
		this.complete = !this.over && req.writableEnded;
		this.onReady = null;   // called when there is nothing to wait for
		this.replaced = null;  // bytes that go instead; what the app writes is dropped
		this.write = req.write;
		this.end = req.end;
		const body = this;
		req.write = function(...args) { return body.onWrite(args); };
		req.end = function(...args) { return body.onEnd(args); };
	}

	keep(chunk, encoding) {
		if (chunk === null || chunk === undefined || typeof chunk === 'function' || this.over)
			return;
		const bytes = startOf(chunk, encoding, this.limit - this.size);
		this.chunks.push(bytes);
		this.size += bytes.length;
		this.over = this.size > this.limit;
	}

	onWrite(args) {
		if (this.replaced !== null)
			return this.drop(args, true);
		this.keep(args[0], args[1]);
		const out = this.write.apply(this.req, args);
		this.ready(!out); // else the app waits for us to go on
		return out;
	}

	onEnd(args) {
		if (this.replaced !== null) {
			this.drop(args, false);
			const rest = this.replaced;
			return this.end.call(this.req, ...(rest === true ? [] : [rest]));
		}
		this.keep(args[0], args[1]);
		this.complete = !this.over;
		const out = this.end.apply(this.req, args);
		this.ready(true);
		return out;
	}

	drop(args, more) {
		const done = args.find((arg) => typeof arg === 'function');
		if (done && more)
			process.nextTick(done);
		else if (done)
			this.req.once('finish', done);
		return true;
	}

	ready(due) {
		const { onReady } = this;
		this.due ||= due || this.over;
		if (onReady === null || !this.due)
			return;
		this.onReady = null;
		process.nextTick(onReady);
	}

	bytes() {
		return Buffer.concat(this.chunks, Math.min(this.size, this.limit));
	}
}

function capture(call, req) {
	call.body = new Body(req, native.bodyLimit());
}

// ---------------------------------------------------------------------- asking

// What is being done about one request until it goes on.  Kept in call.asking.
class Asking {
	constructor(call, req, proceed, socket) {
		this.call = call;
		this.req = req;
		this.proceed = proceed; // (options to change) => goes on
		this.socket = socket;   // that it came with, or null
		this.timer = null;
		this.polls = 0;
		this.options = undefined;
	}

	start() {
		if (this.call.kind === REPLY)
			this.deliver();
		else
			process.nextTick(() => this.gather());
	}

	gather() {
		const { call: { body }, req } = this;
		if (body === null || body.due || req.destroyed || req.getHeader('expect') !== undefined)
			return this.ask();
		body.onReady = () => this.ask();
		this.timer = setTimeout(() => this.ask(), BODY_WAIT_MS);
	}

	ask() {
		const { call, req } = this;
		clearTimeout(this.timer);
		if (call.asking !== this || call.done)
			return;
		if (call.body !== null)
			call.body.onReady = null;
		if (req.destroyed)
			return this.settle();
		this.act(native.ask(call.slot, edits.headOf(req), call.body?.bytes(),
			call.body === null || call.body.complete));
	}

	act(verdict) {
		switch (verdict) {
		case PASS:
			return this.go();
		case PASS | DETAILS:
			this.edit(native.verdict(this.call.slot));
			return this.go();
		case REPLIED | DETAILS:
			return this.deliver();
		case DELAY | DETAILS:
			return this.delay(native.verdict(this.call.slot));
		case HOLD | DETAILS:
			this.timer = setTimeout(() => this.act(native.resume(this.call.slot)),
				HOLD_POLL_MS[Math.min(this.polls++, HOLD_POLL_MS.length - 1)]);
			return undefined;
		}
		return this.go();
	}

	delay(verdict) {
		this.edit(verdict);
		this.timer = setTimeout(() => this.go(), verdict.delay);
	}

	edit(verdict) {
		this.options = edits.editRequest(this.call, this.req, verdict) ?? this.options;
	}

	go() {
		this.call.asking = null;
		if (this.req.destroyed)
			return this.settle();
		return this.proceed(this.options);
	}

	// The chain answers: the agent never hears of the request.
	deliver() {
		const { call, req } = this;
		const verdict = native.verdict(call.slot);
		call.asking = null;
		if (call.dropped || req.destroyed) // by a signal before there was a call, too
			return this.settle();
		this.socket?.destroy();
		end(call, 0, 0);
		deliver(call, req, verdict);
	}

	// The app has destroyed the request: it gets what Node.js gives in that case.
	settle() {
		this.call.asking = null;
		this.socket?.destroy();
		onSocket.call(this.req, null);
	}

	// From req.destroy(): nothing to wait for any more.
	giveUp() {
		if (this.timer === null)
			return; // in this tick still: ask() sees it
		clearTimeout(this.timer);
		if (this.call.body !== null)
			this.call.body.onReady = null;
		process.nextTick(() => this.call.asking === this && this.settle());
	}
}

// Gives a verdict to a request that has no socket (any more).  isWritten: all of it has
// gone to another socket already.
function deliver(call, req, verdict, isWritten = false) {
	if (verdict.raise) {
		onSocket.call(req, null, new MiddlepipeError(call, verdict));
		return;
	}
	// Kept alive as far as Node.js is concerned: then a body that the app still
	// writes is taken to its end.  But what failed to be written never ends.
	req.shouldKeepAlive = !isWritten;
	onSocket.call(req, new ReplySocket(replyBytes(verdict, req.method), req.protocol === 'https:'));
}

function start(call, req, proceed, socket) {
	if (call.kind === ASK && (call.wants & WANT_REQUEST_BODY) !== 0)
		capture(call, req);
	call.asking = new Asking(call, req, proceed, socket);
	call.asking.start();
}

module.exports = { start, capture, deliver };
