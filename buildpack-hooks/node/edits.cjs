// SPDX-License-Identifier: Apache-2.0
//
// The edits of a verdict, applied to an http request that is not sent yet, and
// to lists of fields.  A request's head is in one of two states: not rendered
// (then setHeader and its like do it), or rendered, into req._header and, when
// something has been written, into the first entry of req.outputData.
'use strict';

const net = require('net');

const SET = 0, ADD = 1;

// Applies [op, name, value, ...] to [name, value, ...]; returns a new list.
function editFields(fields, edits) {
	let out = fields;
	for (let i = 0; i < edits.length; i += 3) {
		const name = edits[i + 1].toLowerCase();
		if (edits[i] !== ADD) {
			const kept = [];
			for (let j = 0; j < out.length; j += 2)
				if (out[j].toLowerCase() !== name)
					kept.push(out[j], out[j + 1]);
			out = kept;
		} else if (out === fields) {
			out = fields.slice();
		}
		if (edits[i] === ADD || edits[i] === SET)
			out.push(edits[i + 1], edits[i + 2]);
	}
	return out;
}

// A verdict as one list of edits: authority and length of the body included.
function allEdits(verdict) {
	const edits = verdict.edits.slice();
	if (verdict.authority !== undefined)
		edits.push(SET, 'Host', verdict.authority);
	if (verdict.body !== undefined)
		edits.push(SET, 'Content-Length', String(verdict.body.length),
			2, 'Transfer-Encoding', '', 2, 'Trailer', '');
	return edits;
}

// [host, port] of an authority; port undefined: the scheme's.
function splitAuthority(authority) {
	const parts = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(authority);
	return parts === null ? [authority, undefined] :
		[parts[1] ?? parts[2], parts[3] === undefined ? undefined : +parts[3]];
}

// The head of a request as text, rendered or not.
function headOf(req) {
	if (req._header)
		return req._header;
	let head = `${req.method} ${req.path} HTTP/1.1\r\n`;
	for (const name of req.getRawHeaderNames()) {
		const value = req.getHeader(name);
		for (const one of Array.isArray(value) ? value : [value])
			head += `${name}: ${one}\r\n`;
	}
	return `${head}\r\n`;
}

function setFields(req, edits) {
	for (let i = 0; i < edits.length; i += 3) {
		const [op, name, value] = edits.slice(i, i + 3);
		const old = op === ADD ? req.getHeader(name) : undefined;
		if (op === SET || (op === ADD && old === undefined))
			req.setHeader(name, value);
		else if (op === ADD)
			req.setHeader(name, [].concat(old, value));
		else
			req.removeHeader(name);
	}
}

function renderedFields(head) {
	const fields = [];
	for (const line of head.split('\r\n').slice(1)) {
		const colon = line.indexOf(':');
		if (colon > 0)
			fields.push(line.slice(0, colon), line.slice(colon + 1).trim());
	}
	return fields;
}

function rerender(req, path, edits) {
	const fields = editFields(renderedFields(req._header), edits);
	let head = `${req.method} ${path} HTTP/1.1\r\n`;
	for (let i = 0; i < fields.length; i += 2)
		head += `${fields[i]}: ${fields[i + 1]}\r\n`;
	return `${head}\r\n`;
}

function replaceHead(req, head) {
	const old = req._header;
	const first = req._headerSent ? req.outputData[0] : undefined;
	if (first !== undefined && typeof first.data === 'string' && first.data.startsWith(old))
		first.data = head + first.data.slice(old.length);
	req._header = head;
}

// Puts other bytes into the place of the app's, written or still to come.
function replaceBody(call, req, bytes) {
	if (req._headerSent) {
		const callbacks = req.outputData.map((entry) => entry.callback).filter(Boolean);
		const done = (error) => { for (const callback of callbacks) callback(error); };
		req.outputData = [
			{ data: req._header, encoding: 'latin1', callback: null },
			{ data: bytes, encoding: 'buffer', callback: done },
		];
		req.outputSize = req._header.length + bytes.length;
		req.chunkedEncoding = false;
		call.body.replaced = true;
	} else {
		if (req._header)
			req.chunkedEncoding = false;
		call.body.replaced = bytes; // goes when the app ends its own
	}
}

// The path in the form that the request has: a proxy's is absolute.
function pathLike(old, path) {
	const origin = /^https?:\/\/[^/]*/i.exec(old);
	return origin === null ? path : origin[0] + path;
}

// Where to connect for another authority.
function connectTo(req, authority) {
	const [host, port] = splitAuthority(authority);
	return {
		host, hostname: host, port: port ?? (req.protocol === 'https:' ? 443 : 80),
		socketPath: undefined, servername: net.isIP(host) ? '' : host,
	};
}

// Applies the verdict's edits.  Returns options to change for the agent, or undefined.
function editRequest(call, req, verdict) {
	const edits = allEdits(verdict);
	const path = verdict.path === undefined ? req.path : pathLike(req.path, verdict.path);
	if (verdict.body !== undefined && call.body === null)
		require('./request.cjs').capture(call, req);
	if (req._header)
		replaceHead(req, rerender(req, path, edits));
	else
		setFields(req, edits);
	req.path = path;
	if (verdict.body !== undefined)
		replaceBody(call, req, verdict.body);
	return verdict.authority === undefined ? undefined : connectTo(req, verdict.authority);
}

module.exports = { editFields, editRequest, splitAuthority, headOf };
