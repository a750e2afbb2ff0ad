// SPDX-License-Identifier: Apache-2.0
//
// One request through undici: asked about, sent, observed, or answered by the
// chain.  fetch.cjs loads it with the first request and calls run(); taps.cjs
// tells it what undici does.
'use strict';

const calls = require('./calls.cjs');
const { kindOf, kindOfTold, MiddlepipeError, CANCELLED } = require('./errors.cjs');
const { editFields, splitAuthority } = require('./edits.cjs');
const { hasBody, replyFields } = require('./reply.cjs');
const { Tap1, Tap2 } = require('./taps.cjs');
const { setTimeout, clearTimeout } = require('timers');
const { STATUS_CODES } = require('http');

const { kWithin } = require('./fetch.cjs');
const { native, GO, REPLY, WANT_REQUEST_BODY, WANT_RESPONSE, WANT_EITHER, WANT_RESPONSE_BODY } = calls;
const PASS = 0, DETAILS = 16, REPLIED = 1 | DETAILS, DELAY = 2 | DETAILS, HOLD = 3 | DETAILS;
const BODY_WAIT_MS = 50, RESPONSE_WAIT_MS = 5000;
const HOLD_POLL_MS = [1, 1, 1, 2, 2, 5];
const SET = 0, REMOVE = 2;

// -------------------------------------------------------------------- requests

const origins = new Map(); // origin -> { https, host, port }
const ORIGINS_MAX = 1024;

function originOf(origin) {
	const text = typeof origin === 'string' ? origin : String(origin?.origin ?? origin);
	let found = origins.get(text);
	if (found !== undefined)
		return found;
	try {
		const url = new URL(text);
		const https = url.protocol === 'https:';
		found = { https, host: url.hostname, port: +url.port || (https ? 443 : 80), authority: url.host };
	} catch {
		found = null; // undici refuses it itself
	}
	if (origins.size === ORIGINS_MAX)
		origins.clear();
	origins.set(text, found);
	return found;
}

// The fields of a request as [name, value, ...], whatever form the caller chose.
function fieldsOf(headers) {
	const out = [];
	const add = (name, value) => {
		for (const one of Array.isArray(value) ? value : [value])
			out.push(String(name), String(one));
	};
	if (Array.isArray(headers) && !Array.isArray(headers[0]))
		for (let i = 0; i + 1 < headers.length; i += 2)
			add(headers[i], headers[i + 1]);
	else if (headers && typeof headers[Symbol.iterator] === 'function')
		for (const [name, value] of headers)
			add(name, value);
	else
		for (const name of Object.keys(headers ?? {}))
			add(name, headers[name]);
	return out;
}

function pathOf(opts) {
	return opts.query ? `${opts.path}?${require('querystring').stringify(opts.query)}` : opts.path;
}

function headOf(opts, where) {
	const fields = fieldsOf(opts.headers);
	let text = '', host = where.authority;
	for (let i = 0; i < fields.length; i += 2)
		if (fields[i].toLowerCase() === 'host')
			host = fields[i + 1];
		else
			text += `${fields[i]}: ${fields[i + 1]}\r\n`;
	return `${opts.method ?? 'GET'} ${pathOf(opts)} HTTP/1.1\r\nHost: ${host}\r\n${text}\r\n`;
}

// Reads an iterable body up to a limit, or for a while.  Resolves to what there is
// and a body that sends the same.
async function gather(body, limit) {
	const iterator = body[Symbol.asyncIterator]();
	const chunks = [];
	let size = 0, pending = null, timer, late = false;
	const time = new Promise((resolve) => {
		timer = setTimeout(() => { late = true; resolve(); }, BODY_WAIT_MS);
	});
	let complete = false;
	while (!late && !complete && size <= limit) {
		pending = iterator.next();
		const step = await Promise.race([pending, time]);
		if (step === undefined)
			break;
		pending = null;
		complete = step.done === true;
		if (!complete) {
			chunks.push(typeof step.value === 'string' ? Buffer.from(step.value) : step.value);
			size += chunks[chunks.length - 1].length;
		}
	}
	clearTimeout(timer);
	async function* again() {
		try {
			yield* chunks;
			for (let step = null; !complete; ) {
				step = await (pending ?? iterator.next());
				pending = null;
				if (step.done)
					break;
				yield step.value;
			}
			complete = true;
		} finally {
			if (!complete)
				await iterator.return?.();
		}
	}
	return { bytes: Buffer.concat(chunks, Math.min(size, limit)), complete, body: again() };
}

// The size of a request's body; Infinity: not known.
function lengthOf({ body, headers }) {
	if (body === null || body === undefined)
		return 0;
	if (typeof body === 'string' || body instanceof Uint8Array)
		return Buffer.byteLength(body);
	const fields = fieldsOf(headers);
	const at = fields.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === 'content-length');
	return at < 0 ? Infinity : +fields[at + 1];
}

// Copies a body as undici sends it, so that nothing waits for it.
class Sent {
	constructor(opts) {
		this.length = lengthOf(opts);
		this.limit = native.bodyLimit();
		this.chunks = [];
		this.size = 0;
	}

	take(chunk) {
		const rest = this.limit - this.size;
		if (rest < 0)
			return;
		const bytes = Buffer.from(typeof chunk === 'string' ? chunk : chunk.subarray(0, rest + 1));
		this.chunks.push(bytes);
		this.size += bytes.length;
	}

	// Everything has been sent; Debian 12's undici (5.15) does not say so.
	end() {
		this.length = this.size;
	}

	bytes() {
		return Buffer.concat(this.chunks, Math.min(this.size, this.limit));
	}

	isComplete() {
		return this.size === this.length && this.size <= this.limit;
	}
}

function editOpts(opts, verdict, where) {
	const edits = verdict.edits.slice();
	const out = { ...opts };
	if (verdict.authority !== undefined) {
		const [host, port] = splitAuthority(verdict.authority);
		const name = host.includes(':') ? `[${host}]` : host;
		out.origin = `${where.https ? 'https' : 'http'}://${name}${port === undefined ? '' : `:${port}`}`;
		edits.push(SET, 'host', verdict.authority);
	}
	if (verdict.body !== undefined) {
		out.body = verdict.body;
		edits.push(SET, 'content-length', String(verdict.body.length), REMOVE, 'transfer-encoding', '');
	}
	if (verdict.path !== undefined) {
		out.path = verdict.path;
		out.query = undefined;
	}
	out.headers = editFields(fieldsOf(opts.headers), edits);
	return out;
}

// ------------------------------------------------------------------ an exchange

class Exchange {
	constructor(call, opts, where, tap) {
		this.call = call;
		this.opts = opts;
		this.source = opts.body; // the app's, whatever is sent instead
		this.where = where;
		this.tap = tap;       // Tap1 or Tap2
		this.sent = call.kind === GO && (call.wants & WANT_REQUEST_BODY) !== 0 ?
			new Sent(opts) : null; // copies the request's body
		this.held = null;     // a response that waits for its body
		this.copy = null;     // a body on its way that is copied
		this.replaced = false; // the rest of the network's response is dropped
		this.timer = null;     // while it waits to be sent
		this.polls = 0;
	}

	start() {
		const { call, opts: { body } } = this;
		const wants = (call.wants & WANT_REQUEST_BODY) !== 0;
		if (call.kind === REPLY)
			return this.reply(native.verdict(call.slot));
		if (!wants || body === null || body === undefined)
			return this.ask(undefined, true);
		if (typeof body === 'string' || body instanceof Uint8Array)
			return this.ask(typeof body === 'string' ? Buffer.from(body) : body, true);
		if (typeof body[Symbol.asyncIterator] !== 'function')
			return this.ask(undefined, false);
		this.tap.start(true);
		gather(body, native.bodyLimit()).then((got) => {
			if (call.done)
				return;
			this.opts = { ...this.opts, body: got.body };
			this.ask(got.bytes, got.complete);
		}, (error) => {
			if (!call.done)
				this.cancel(error); // the app's own body failed
		});
		return true;
	}

	ask(bytes, complete) {
		return this.act(native.ask(this.call.slot, headOf(this.opts, this.where), bytes, complete));
	}

	act(verdict) {
		const { slot } = this.call;
		if (verdict === REPLIED)
			return this.reply(native.verdict(slot));
		if (verdict === HOLD) {
			return this.wait(() => this.act(native.resume(slot)),
				HOLD_POLL_MS[Math.min(this.polls++, HOLD_POLL_MS.length - 1)]);
		}
		if ((verdict & DETAILS) === 0)
			return this.go();
		const details = native.verdict(slot);
		this.opts = editOpts(this.opts, details, this.where);
		if (verdict !== DELAY)
			return this.go();
		return this.wait(() => this.go(), details.delay);
	}

	wait(then, ms) {
		this.tap.start(true);
		if (!this.call.done)
			this.timer = setTimeout(then, ms);
		return true;
	}

	// The app gives up, or its body fails, while there is no request yet.
	cancel(reason) {
		clearTimeout(this.timer);
		calls.end(this.call, 0, kindOf(reason, CANCELLED));
		this.dropSource();
		process.nextTick(() => this.tap.give(reason));
	}

	// As undici does with the stream of a request that has failed.
	dropSource() {
		const { source } = this;
		if (typeof source?.destroy === 'function')
			source.on?.('error', () => {}).destroy();
	}

	go() {
		try {
			return send(this.tap.dispatcher, this.tap.dispatch, this.opts, this.tap);
		} catch (error) {
			calls.end(this.call, 0, CANCELLED); // a mistake of the caller's
			throw error;
		}
	}

	// The chain answers; undici never hears of the request.
	reply(verdict) {
		calls.end(this.call, 0, 0);
		this.dropSource();
		process.nextTick(() => this.give(verdict));
		return true;
	}

	give(verdict) {
		if (verdict.raise)
			this.tap.give(new MiddlepipeError(this.named(), verdict));
		else
			this.tap.give(null, verdict.status, replyFields(verdict),
				hasBody(verdict.status, this.opts.method) ? verdict.body : undefined);
	}

	named() {
		this.call.authority ||= this.where.authority;
		return this.call;
	}

	// --- what undici tells; each returns false to be asked to pause

	head(status, fields, statusText) {
		const { call, tap } = this;
		if ((call.wants & WANT_EITHER) === 0)
			return tap.head(status, fields, statusText); // counted already
		const wantsBody = (call.wants & WANT_RESPONSE_BODY) !== 0 && hasBody(status, this.opts.method) &&
			!isStream(fields);
		const response = { status, fields, statusText, chunks: [], size: 0, limit: native.bodyLimit() };
		if ((call.wants & WANT_RESPONSE) === 0)
			return this.observe(response, wantsBody);
		native.head(call.slot);
		if (!wantsBody)
			return this.decide(response, false);
		this.held = response;
		response.timer = setTimeout(() => this.decide(response, false), RESPONSE_WAIT_MS);
		return true;
	}

	observe(response, wantsBody) {
		if (wantsBody) {
			this.copy = response;
			this.call.observer = this;
		} else {
			this.show(response, 0, false);
		}
		calls.head(this.call, response.status, false);
		return this.tap.head(response.status, response.fields, response.statusText);
	}

	show(response, error, complete) {
		const { call } = this;
		const asked = call.kind !== GO, { sent } = this;
		call.observer = null;
		let text = '';
		if (response !== null) {
			text = `HTTP/1.1 ${response.status} \r\n`;
			for (let i = 0; i < response.fields.length; i += 2)
				text += `${response.fields[i]}: ${response.fields[i + 1]}\r\n`;
		}
		return native.respond(call.slot, asked ? undefined : headOf(this.opts, this.where),
			sent?.bytes(), sent === null || sent.isComplete(),
			error ? 0 : response.status, error, text,
			response?.chunks.length ?
				Buffer.concat(response.chunks, Math.min(response.size, response.limit)) : undefined,
			complete);
	}

	// From calls.end(): the copy is as long as it will be.
	flush(error) {
		this.show(this.copy, error, this.copy.ended === true && this.copy.size <= this.copy.limit);
	}

	decide(response, ended) {
		const { call, tap } = this;
		clearTimeout(response.timer);
		this.held = null;
		const code = this.show(response, 0, ended);
		const verdict = code === PASS ? null : native.verdict(call.slot);
		if (code === REPLIED) {
			calls.end(call, response.status, 0);
			this.replaced = true;
			this.give(verdict);
			return true;
		}
		calls.head(call, response.status, true); // the head's time is taken
		let { status, fields, statusText } = response;
		let body = verdict?.body;
		if (verdict !== null) {
			fields = editFields(fields, body === undefined ? verdict.edits : [...verdict.edits,
				SET, 'Content-Length', String(body.length), REMOVE, 'Transfer-Encoding', '']);
			if (verdict.status !== 0)
				[status, statusText] = [verdict.status, STATUS_CODES[verdict.status] ?? ''];
		}
		if (body !== undefined) {
			this.replaced = true;
			tap.give(null, status, fields, hasBody(status, this.opts.method) ? body : undefined);
			return true;
		}
		let more = tap.head(status, fields, statusText);
		for (const chunk of response.chunks)
			more = tap.data(chunk);
		return more;
	}

	data(chunk) {
		if (this.replaced)
			return true;
		const kept = this.held ?? this.copy;
		if (kept !== null && kept.size <= kept.limit) {
			kept.size += chunk.length;
			kept.chunks.push(chunk);
		}
		if (this.held === null)
			return this.tap.data(chunk);
		return kept.size > kept.limit ? this.decide(kept, false) : true;
	}

	// True: the handler is to be told.
	complete() {
		if (this.copy !== null)
			this.copy.ended = true;
		if (this.held !== null)
			this.decide(this.held, true);
		calls.end(this.call, this.call.status, 0);
		return !this.replaced;
	}

	// The error to tell, or null when the chain has answered instead.
	failed(error) {
		const { call } = this;
		const kind = kindOfTold(error);
		const before = call.status === 0 && !call.done;
		if (this.held !== null) {
			clearTimeout(this.held.timer);
			this.held = null;
		}
		if (this.replaced) {
			calls.end(call, call.status, 0);
			return null;
		}
		if (!before || (call.wants & WANT_EITHER) === 0 || kind === CANCELLED) {
			calls.fail(call, kind);
			return error;
		}
		const code = this.show(null, kind, false);
		const verdict = code === REPLIED && (call.wants & WANT_RESPONSE) !== 0 ?
			native.verdict(call.slot) : null;
		calls.fail(call, kind);
		if (verdict === null)
			return error;
		this.replaced = true;
		this.give(verdict);
		return null;
	}
}

function isStream(fields) {
	for (let i = 0; i < fields.length; i += 2)
		if (fields[i].length === 12 && fields[i].toLowerCase() === 'content-type')
			return /^text\/event-stream/i.test(fields[i + 1]);
	return false;
}

let within = 0; // dispatchers call one another: one exchange is one call

function send(dispatcher, dispatch, opts, handler) {
	within++;
	try {
		return dispatch.call(dispatcher, opts, handler);
	} finally {
		within--;
	}
}

// WebSockets and tunnels are connections, not calls; undici refuses the rest itself.
function isCall(opts) {
	return opts !== null && typeof opts === 'object' && typeof opts.path === 'string' &&
		!opts.upgrade && opts.method !== 'CONNECT';
}

// Sends a request through a dispatcher's own dispatch, with the chain around it.
function run(dispatcher, dispatch, opts, handler) {
	if (within !== 0 || !isCall(opts) || opts[kWithin])
		return dispatch.call(dispatcher, opts, handler);
	const where = originOf(opts.origin);
	const call = where === null ? null : calls.begin(where.https, where.host, where.port, opts.path);
	if (call === null)
		return send(dispatcher, dispatch, opts, handler);
	const Tap = typeof handler.onRequestStart === 'function' ? Tap2 : Tap1;
	const tap = new Tap(handler, call, dispatcher, dispatch);
	if (call.kind === GO && (call.wants & WANT_EITHER) === 0)
		return send(dispatcher, dispatch, opts, tap);
	tap.exchange = new Exchange(call, opts, where, tap);
	return call.kind === GO ? tap.exchange.go() : tap.exchange.start();
}

module.exports = { run };
