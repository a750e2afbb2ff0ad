// SPDX-License-Identifier: Apache-2.0
//
// An application for 52-node.t: makes the calls that the file of its argument
// lists (JSON), one after the other, and prints one result for each.  A call:
//
//   lib       http (the default; by its URL https too) or fetch
//   url, method, headers (object, or flat array), insecure
//   chunks    pieces of a body, written one by one; gap: ms between them
//   first     ms to wait before the first write or end
//   agent     keep (default: one for all calls), none (agent: false), connect
//             (createConnection without an agent), foreign (no http.Agent), own
//   options   more options for http.request or fetch
//   timeout   ms: setTimeout and destroy, or AbortSignal.timeout
//   abort     ms after which the app gives up; drop: it drops the response's body
//   clock     the result says how many ms passed until the body was written (wrote)
//   silent    no 'response' listener; count: how often; together: all at once
//   script    what the scripted library does from this call on
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const net = require('net');
const { EventEmitter } = require('events');

const keep = {
	'http:': new http.Agent({ keepAlive: true }),
	'https:': new https.Agent({ keepAlive: true, rejectUnauthorized: false }),
};

// As agent-base was before its version 7: no http.Agent, connects at once.
class Foreign extends EventEmitter {
	addRequest(req, options) {
		req.shouldKeepAlive = false;
		const socket = net.connect(options.port, options.host);
		socket.once('connect', () => req.onSocket(socket));
		socket.once('error', (error) => { req.emit('error', error); req.emit('close'); });
	}
}
const foreign = new Foreign();

function errorOf(error) {
	const out = { name: error.name, message: error.message, isError: error instanceof Error };
	for (const key of ['code', 'syscall', 'hostname', 'pipe', 'type', 'state', 'retryAfter', 'retry_after'])
		if (error[key] !== undefined)
			out[key] = error[key];
	if (error.response)
		out.response = { ...error.response, body: String(error.response.body) };
	if (error.cause)
		out.cause = errorOf(error.cause);
	return out;
}

function agentOf(call, url) {
	switch (call.agent ?? 'keep') {
	case 'keep':
		return { agent: keep[url.protocol] };
	case 'none':
		return { agent: false };
	case 'own':
		return { agent: new http.Agent({ keepAlive: true, maxSockets: 1 }) };
	case 'foreign':
		return { agent: foreign };
	}
	return { createConnection: (options) => net.connect(options.port, options.host) };
}

// Notes how long the app itself has taken so far.
function clock(call, began, out) {
	if (call.clock)
		out.wrote = performance.now() - began;
}

async function write(req, call, out) {
	const began = performance.now();
	const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
	if (call.first !== undefined)
		await wait(call.first);
	for (const [i, chunk] of (call.chunks ?? []).entries()) {
		if (i > 0 && call.gap !== undefined)
			await wait(call.gap);
		if (req.destroyed)
			return;
		if (!req.write(chunk) && !req.destroyed)
			await new Promise((resolve) => req.once('drain', resolve).once('close', resolve));
	}
	req.end();
	clock(call, began, out);
}

function byHttp(call) {
	const url = new URL(call.url);
	const { request } = url.protocol === 'https:' ? https : http;
	return new Promise((resolve) => {
		const out = { events: [] };
		const req = request(url, { method: call.method, headers: call.headers, ...agentOf(call, url),
			...call.options });
		const note = (name) => out.events.push(name);
		let open = 2;
		const finish = () => --open === 0 && resolve(out);
		for (const name of ['socket', 'continue', 'upgrade', 'abort', 'timeout', 'finish', 'close'])
			req.on(name, () => note(name));
		req.on('close', finish);
		req.on('error', (error) => {
			note('error');
			out.error = errorOf(error);
			if (out.status === undefined)
				finish();
		});
		if (call.silent)
			open = 1;
		else
			req.on('response', (res) => onResponse(res, call, out, note, finish));
		if (call.timeout !== undefined)
			req.setTimeout(call.timeout, () => req.destroy());
		if (call.abort !== undefined)
			setTimeout(() => req.destroy(), call.abort);
		if (call.abort === -1)
			req.destroy();
		if (call.chunks || call.first !== undefined)
			write(req, call, out);
		else
			req.end();
	});
}

function onResponse(res, call, out, note, finish) {
	note('response');
	Object.assign(out, { status: res.statusCode, reason: res.statusMessage, raw: res.rawHeaders,
		headers: res.headers, body: '', real: res instanceof http.IncomingMessage });
	if (call.drop) {
		res.destroy();
		return finish();
	}
	res.setEncoding('latin1');
	res.on('data', (chunk) => { out.body += chunk; });
	res.on('end', () => { note('end'); out.complete = res.complete; finish(); });
	res.on('error', (error) => { note('broken'); out.error = errorOf(error); finish(); });
	return undefined;
}

async function* slowly(call, began, out) {
	for (const [i, chunk] of call.chunks.entries()) {
		if (i > 0 && call.gap !== undefined)
			await new Promise((resolve) => setTimeout(resolve, call.gap));
		yield Buffer.from(chunk);
	}
	clock(call, began, out);
}

async function byFetch(call) {
	const out = {};
	const init = { method: call.method, headers: call.headers, ...call.options };
	if (call.timeout !== undefined)
		init.signal = AbortSignal.timeout(call.timeout);
	if (call.abort !== undefined)
		init.signal = call.abort === -1 ? AbortSignal.abort() : later(call.abort);
	if (call.chunks)
		Object.assign(init, call.gap === undefined ? { body: call.chunks.join('') } :
			{ body: slowly(call, performance.now(), out), duplex: 'half' });
	try {
		const res = await fetch(call.url, init);
		Object.assign(out, { status: res.status, reason: res.statusText, real: res instanceof Response,
			headers: Object.fromEntries(res.headers) });
		if (call.drop)
			await res.body.cancel();
		else
			out.body = Buffer.from(await res.arrayBuffer()).toString('latin1');
	} catch (error) {
		out.error = errorOf(error);
	}
	return out;
}

function later(ms) {
	const controller = new AbortController();
	setTimeout(() => controller.abort(), ms);
	return controller.signal;
}

async function main() {
	const results = [];
	for (const call of JSON.parse(fs.readFileSync(process.argv[2]))) {
		const once = () => call.lib === 'fetch' ? byFetch(call) : byHttp(call);
		const count = call.count ?? 1;
		if (call.script !== undefined)
			fs.writeFileSync(process.env.MP_SCRIPT, call.script);
		if (call.together)
			results.push(...await Promise.all(Array.from({ length: count }, once)));
		else
			for (let i = 0; i < count; i++)
				results.push(await once());
	}
	for (const agent of Object.values(keep))
		agent.destroy();
	process.stdout.write(JSON.stringify(results));
	process.exitCode = 0;
}

if (require.main === module)
	main();
module.exports = { byHttp, byFetch };
