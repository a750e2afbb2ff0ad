// SPDX-License-Identifier: Apache-2.0
//
// How calls fail: the kinds that a chain is told, and the error that a refusal
// becomes.  Pure; used by all other parts of the hook.
'use strict';

// MP_ERROR_* of middlepipe/types.h.
const NONE = 0, REFUSED = 1, TIMEOUT = 2, BROKEN = 3, PROTOCOL = 4, CANCELLED = 5, OTHER = 6;

const KINDS = new Map([
	['ECONNREFUSED', REFUSED], ['ENOTFOUND', REFUSED], ['EAI_AGAIN', REFUSED],
	['EAI_FAIL', REFUSED], ['EAI_NODATA', REFUSED], ['EAI_NONAME', REFUSED],
	['ENODATA', REFUSED], ['EHOSTUNREACH', REFUSED], ['EHOSTDOWN', REFUSED],
	['ENETUNREACH', REFUSED], ['ENETDOWN', REFUSED], ['EADDRNOTAVAIL', REFUSED],
	['ENOENT', REFUSED], ['EACCES', REFUSED], ['EPERM', REFUSED], ['ENOTSOCK', REFUSED],
	['ETIMEDOUT', TIMEOUT], ['ESOCKETTIMEDOUT', TIMEOUT], ['ETIME', TIMEOUT],
	['UND_ERR_CONNECT_TIMEOUT', TIMEOUT], ['UND_ERR_HEADERS_TIMEOUT', TIMEOUT],
	['UND_ERR_BODY_TIMEOUT', TIMEOUT], ['ERR_SOCKET_CONNECTION_TIMEOUT', TIMEOUT],
	['ECONNRESET', BROKEN], ['EPIPE', BROKEN], ['ECONNABORTED', BROKEN], ['ENOTCONN', BROKEN],
	['UND_ERR_SOCKET', BROKEN], ['ERR_STREAM_PREMATURE_CLOSE', BROKEN],
	['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', BROKEN],
	['EPROTO', PROTOCOL], ['UND_ERR_HEADERS_OVERFLOW', PROTOCOL],
	['DEPTH_ZERO_SELF_SIGNED_CERT', PROTOCOL], ['SELF_SIGNED_CERT_IN_CHAIN', PROTOCOL],
	['HOSTNAME_MISMATCH', PROTOCOL], ['INVALID_CA', PROTOCOL], ['INVALID_PURPOSE', PROTOCOL],
	['ABORT_ERR', CANCELLED], ['UND_ERR_ABORTED', CANCELLED],
	['UND_ERR_DESTROYED', CANCELLED], ['UND_ERR_CLOSED', CANCELLED],
	['UND_ERR_INVALID_ARG', CANCELLED], ['UND_ERR_NOT_SUPPORTED', CANCELLED],
	['UND_ERR_REQ_CONTENT_LENGTH_MISMATCH', CANCELLED],
]);
const FAMILIES = /^(?:HPE_|ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|UNABLE_TO_)/;

// What an AbortController gave up for: a time that was over, or the app's own will.
function kindOfAbort(error) {
	return error.name === 'TimeoutError' || error.cause?.name === 'TimeoutError' ? TIMEOUT : CANCELLED;
}

// The kind of failure that an error is; `otherwise` for what is not known.
function kindOf(error, otherwise = OTHER) {
	if (error === null || typeof error !== 'object')
		return otherwise;
	if (error.name === 'AbortError' || error.name === 'TimeoutError')
		return kindOfAbort(error);
	const code = typeof error.code === 'string' ? error.code : '';
	if (code === 'UND_ERR_ABORTED' && /^Proxy response/.test(error.message))
		return REFUSED; // undici's word for a proxy that makes no tunnel
	if (FAMILIES.test(code) || error.name === 'HTTPParserError') // which has no code since undici 7
		return PROTOCOL;
	return KINDS.get(code) ?? otherwise;
}

// The same of what undici tells.  An error without a code is neither its own nor the
// network's: a body of the app's that fails, or what the app has aborted with.
function kindOfTold(error) {
	return kindOf(error, typeof error?.code === 'string' ? OTHER : CANCELLED);
}

function message(authority, verdict) {
	const said = verdict.state ? `is ${verdict.state}` : 'refused the call';
	const after = verdict.retryAfter >= 0 ? `, retry after ${verdict.retryAfter} s` : '';
	const name = verdict.pipe || verdict.type || 'chain';
	const who = name === 'middlepipe' ? name : `middlepipe ${name}`; // all of it, or one
	return `[${authority}] ${who} ${said}${after}`;
}

// The response that the chain gave for the service's, in plain values.
function responseOf(verdict) {
	const headers = {};
	for (let i = 0; i < verdict.fields.length; i += 2) {
		const name = verdict.fields[i].toLowerCase(), value = verdict.fields[i + 1];
		headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
	}
	return { status: verdict.status, headers, body: verdict.body ?? Buffer.alloc(0) };
}

// A middlepipe refused the call: 'error' of a request, or the cause of fetch's
// TypeError.  Its code is none that libraries take for a fault of the network and
// retry by themselves.
class MiddlepipeError extends Error {
	constructor(call, verdict) {
		super(message(call.authority, verdict));
		this.code = 'EMIDDLEPIPE';
		this.syscall = 'connect';
		this.hostname = call.host;
		this.pipe = verdict.pipe;
		this.type = verdict.type;
		this.state = verdict.state;
		this.retryAfter = verdict.retryAfter >= 0 ? verdict.retryAfter : null;
		Object.defineProperty(this, 'response',
			{ value: responseOf(verdict), writable: true, configurable: true });
	}

	get retry_after() {
		return this.retryAfter;
	}
}
Object.defineProperty(MiddlepipeError.prototype, 'name',
	{ value: 'MiddlepipeError', writable: true, configurable: true });

module.exports = {
	NONE, REFUSED, TIMEOUT, BROKEN, PROTOCOL, CANCELLED, OTHER, kindOf, kindOfTold, MiddlepipeError,
};
