// SPDX-License-Identifier: Apache-2.0
//
// A reply of the chain as a socket that Node.js reads it from: the response is
// made by Node's own parser, and what the request writes goes nowhere.
'use strict';

const net = require('net');
const { STATUS_CODES } = require('http');
const { setImmediate } = require('timers');

// The framing is ours: by the length of the body.
const FRAMING = new Set(['connection', 'keep-alive', 'content-length', 'transfer-encoding', 'upgrade']);

function hasBody(status, method) {
	return method !== 'HEAD' && status !== 204 && status !== 304;
}

// [name, value, ...] of a reply as they stand on the wire.
function replyFields(verdict) {
	const fields = [];
	for (let i = 0; i < verdict.fields.length; i += 2)
		if (!FRAMING.has(verdict.fields[i].toLowerCase()))
			fields.push(verdict.fields[i], verdict.fields[i + 1]);
	if (verdict.status !== 204 && verdict.status !== 304)
		fields.push('Content-Length', String(verdict.body?.length ?? 0));
	return fields;
}

function replyBytes(verdict, method) {
	const fields = replyFields(verdict);
	let head = `HTTP/1.1 ${verdict.status} ${STATUS_CODES[verdict.status] ?? ''}\r\n`;
	for (let i = 0; i < fields.length; i += 2)
		head += `${fields[i]}: ${fields[i + 1]}\r\n`;
	const bytes = Buffer.from(`${head}\r\n`, 'latin1');
	return verdict.body && hasBody(verdict.status, method) ?
		Buffer.concat([bytes, verdict.body]) : bytes;
}

class ReplySocket extends net.Socket {
	#bytes;

	constructor(bytes, encrypted) {
		// Nobody waits for 'drain' in vain: once the response is complete, Node.js
		// does not listen to it any more.
		super({ allowHalfOpen: true, writableHighWaterMark: Number.MAX_SAFE_INTEGER });
		this.#bytes = bytes;
		if (encrypted) {
			this.encrypted = true;
			this.authorized = true;
			this.getPeerCertificate = () => ({}); // what a peer without one has
		}
		// Its one request is over: nobody takes it into a pool.
		this.once('free', () => this.destroy());
	}

	get pending() {
		return false;
	}

	// Once the request has been written, as far as it is there: a service would
	// not answer sooner either.
	_read() {
		const bytes = this.#bytes;
		this.#bytes = null;
		if (bytes !== null)
			setImmediate(() => this.push(bytes));
	}

	_write(chunk, encoding, done) {
		done();
	}

	_writev(chunks, done) {
		done();
	}

	_final(done) {
		done();
	}

	// 'close' comes as late as a connection's: what has been read ends before it.
	_destroy(error, done) {
		done(error);
		setImmediate(() => this.emit('close', Boolean(error)));
	}

	setTimeout() {
		return this;
	}

	setNoDelay() {
		return this;
	}

	setKeepAlive() {
		return this;
	}

	ref() {
		return this;
	}

	unref() {
		return this;
	}
}

module.exports = { ReplySocket, replyBytes, replyFields, hasBody };
