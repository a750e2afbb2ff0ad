// SPDX-License-Identifier: Apache-2.0
//
// http and https: where a request goes to its agent, and where it reports what
// became of it.  Prototypes are patched, so that it does not matter when or how
// (require or import) the app gets hold of the module, and nothing is listened
// to, because listeners would change what Node.js does: a request that nobody
// answers 'response' for discards its response.
//
//   Agent.addRequest     every request with an agent, before it connects
//   ClientRequest.onSocket  requests without, and agents that are no http.Agent
//   ClientRequest.emit      'response', 'error', 'timeout', 'close' ...
//   ClientRequest.destroy   the app gives up
//
// What is rare is in files of its own, loaded when it first happens: request.cjs
// (asking, delaying, replying) and response.cjs (showing responses to the chain).
'use strict';

const http = require('http');
const calls = require('./calls.cjs');
const { kindOf, CANCELLED, BROKEN, TIMEOUT } = require('./errors.cjs');

const { GO, WANT_REQUEST_BODY, WANT_EITHER, SMALL_DIGITS } = calls;
const MARKER = 'middlepipe';

// On a request: its Call, or null when no chain has to do with it.
const kCall = Symbol('middlepipe.call');
const kWrapped = Symbol('middlepipe.wrapped');

const client = http.ClientRequest.prototype;
const base = Object.hasOwn(client, 'emit') ? { emit: client.emit } : Object.getPrototypeOf(client);
const { onSocket, destroy } = client;

let requests = null, responses = null;
const asking = () => requests ??= require('./request.cjs');
const showing = () => responses ??= require('./response.cjs');

// A WebSocket is a connection, not a call.  Asked only when it matters.
function isUpgrade(req) {
	return req.getHeader('upgrade') !== undefined ||
		(typeof req._header === 'string' && /\r\nupgrade:/i.test(req._header));
}

// A proxied request names its origin in its path, which is where it goes.
function beginProxied(req) {
	let url;
	try {
		url = new URL(req.path);
	} catch {
		return null;
	}
	const https = url.protocol === 'https:';
	return calls.begin(https, url.hostname, +url.port || (https ? 443 : 80), req.path);
}

function begin(req, host, port) {
	const { path } = req;
	if (path.charCodeAt(0) === 104 /* h */ && /^https?:\/\//.test(path))
		return beginProxied(req);
	const https = req.protocol === 'https:';
	if (typeof req.socketPath === 'string')
		return calls.begin(https, `unix:${req.socketPath}`, 0, path);
	return calls.begin(https, host, +port || (https ? 443 : 80), path);
}

// Sets req[kCall].  True when the call does not simply go on.
function enter(req, host, port) {
	req[kCall] = null;
	if (req.method === 'CONNECT')
		return false;
	const call = begin(req, host, port);
	if (call === null)
		return false;
	if (call.kind !== GO && isUpgrade(req)) {
		calls.end(call, 0, CANCELLED);
		return false;
	}
	req[kCall] = call;
	if (call.kind !== GO)
		return true;
	if ((call.wants & WANT_REQUEST_BODY) !== 0 && (call.wants & WANT_EITHER) !== 0)
		asking().capture(call, req);
	return false;
}

// ------------------------------------------------------------- before the call

// How an agent's request goes on, once it may; `edited`: options to change.
function proceedBy(original, agent, req, options, port, localAddress) {
	return (edited) => {
		try {
			original.call(agent, req, edited ? { ...options, ...edited } : options,
				port, localAddress);
		} catch (error) {
			onSocket.call(req, null, error); // its caller is gone by now
		}
	};
}

// The agents by which nock 14 (@mswjs/interceptors) answers itself.
const DOUBLE = /^Mock(?:Https)?Agent$/;
let lastReal = http.Agent;

function isDouble(agent) {
	const { constructor } = agent;
	if (constructor === lastReal)
		return false;
	if (DOUBLE.test(constructor?.name))
		return true;
	lastReal = constructor;
	return false;
}

function wrapAddRequest(original) {
	function addRequest(req, options, port, localAddress) {
		if (req[kCall] === undefined && isDouble(this)) {
			req[kCall] = null;
		} else if (req[kCall] === undefined) {
			const legacy = typeof options === 'string';
			if (enter(req, (legacy ? options : options.host) || 'localhost',
				legacy ? port : options.port)) {
				asking().start(req[kCall], req, proceedBy(original, this, req,
					legacy ? { host: options, port, localAddress } : options), null);
				return undefined;
			}
		}
		return original.call(this, req, options, port, localAddress);
	}
	addRequest[kWrapped] = true;
	return addRequest;
}

// An agent that is no http.Agent (agent-base before 7): its later requests are
// met before they connect.
function adopt(agent) {
	let owner = agent;
	while (owner && !Object.hasOwn(owner, 'addRequest'))
		owner = Object.getPrototypeOf(owner);
	if (owner && !owner.addRequest[kWrapped])
		owner.addRequest = wrapAddRequest(owner.addRequest);
}

// A request that comes with its socket: it connects already.  While the chain is
// asked, the socket needs somebody who listens to its errors.
function enterLate(req, socket) {
	if (req.agent)
		adopt(req.agent);
	const at = /:(\d+)$/.exec(String(req.getHeader('host') ?? ''));
	if (!enter(req, req.host, at === null ? 0 : at[1]))
		return false;
	let error;
	const onEarlyError = (e) => { error = e; };
	socket.on('error', onEarlyError);
	asking().start(req[kCall], req, () => {
		socket.removeListener('error', onEarlyError);
		if (socket.destroyed)
			error ??= Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
		onSocket.call(req, error ? null : socket, error);
	}, socket);
	return true;
}

function onSocketOfCall(socket, error) {
	// What a test double makes up has no handle.
	if (this[kCall] === undefined && !error && socket && (socket._handle || socket.connecting) &&
	    enterLate(this, socket))
		return undefined;
	return onSocket.call(this, socket, error);
}

// -------------------------------------------------------------- after the call

function stripMarker(res) {
	const raw = res.rawHeaders;
	showing().setHeaders(res, raw.filter((_, i) => raw[i & ~1].toLowerCase() !== MARKER));
}

// Takes the field out that only a chain may send.  True when the response says that
// its body is small, which ends as good as with its head.
function scan(res) {
	const raw = res.rawHeaders;
	let small = false;
	for (let i = 0; i < raw.length; i += 2) {
		const name = raw[i];
		if (name.length === 14 && (name.charCodeAt(8) | 32) === 108 /* Content-Length */)
			small = raw[i + 1].length <= SMALL_DIGITS;
		else if (name.length === 10 && (name.charCodeAt(0) | 32) === 109 && name.toLowerCase() === MARKER)
			return stripMarker(res);
	}
	return small;
}

function onResponse(call, req, res) {
	const small = scan(res);
	call.res = res;
	if ((call.wants & WANT_EITHER) !== 0)
		return showing().onResponse(call, req, res, small);
	calls.head(call, res.statusCode, small);
	const out = base.emit.call(req, 'response', res);
	if (small && res.readableFlowing === null)
		calls.unread(call);
	return out;
}

function onError(call, req, error) {
	const kind = call.dropped || (isUpgrade(req) ? CANCELLED : kindOf(error));
	if ((call.wants & WANT_EITHER) !== 0 && call.status === 0 && kind !== CANCELLED)
		return showing().onError(call, req, error, kind);
	calls.fail(call, kind);
	return base.emit.call(req, 'error', error);
}

// The end of every request: after its response, after its error, or after nothing.
function onClose(call, req) {
	const { res } = call;
	if (call.held && showing().onCloseHeld(call, req))
		return undefined;
	if (res?.complete && call.status !== 0)
		calls.end(call, call.status, 0);
	else if (res)
		calls.fail(call, res.errored ? kindOf(res.errored, CANCELLED) : CANCELLED);
	else
		calls.fail(call, call.dropped || BROKEN);
	return base.emit.call(req, 'close');
}

function emit(type, value) {
	const call = this[kCall];
	if (call === undefined || call === null || call.done) {
		if (call === undefined && type === 'error' && this.agent)
			adopt(this.agent); // it failed to connect
		return base.emit.apply(this, arguments);
	}
	switch (type) {
	case 'response':
		return onResponse(call, this, value);
	case 'error':
		return onError(call, this, value);
	case 'close':
		return onClose(call, this);
	case 'timeout':
		call.timedOut = true;
		break;
	case 'upgrade':
	case 'connect':
		calls.end(call, 0, CANCELLED);
		break;
	}
	return base.emit.apply(this, arguments);
}

function destroyCall(error) {
	const call = this[kCall];
	if (!call || call.done || this.destroyed)
		return destroy.apply(this, arguments);
	call.dropped = call.timedOut ? TIMEOUT : kindOf(error, CANCELLED);
	const out = destroy.apply(this, arguments);
	if (call.asking !== null)
		call.asking.giveUp();
	return out;
}

function install() {
	client.onSocket = onSocketOfCall;
	client.emit = emit;
	client.destroy = destroyCall;
	http.Agent.prototype.addRequest = wrapAddRequest(http.Agent.prototype.addRequest);
}

module.exports = { install, kCall, base, onSocket };
